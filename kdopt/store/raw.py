"""Every row of a campaign as the database holds it, for checks that take nothing for granted."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import sqlalchemy as sa

from kdopt.campaign.studies import ParamValue
from kdopt.store.database import Store
from kdopt.store.params import read_value
from kdopt.store.planning import RETRIED_KEY
from kdopt.store.rows import OF_CAMPAIGN, of_campaign


class RawTrial(NamedTuple):
    """One row of ``trials`` with what belongs to it.

    Attributes:
        trial_id: Its id.
        study: Study name.
        number: Its number within the study.
        state: ``WAITING``, ``RUNNING``, ``COMPLETE`` or ``FAIL``.
        params: Its parameters.
        values: How many values it has.
        attributes: Its user attributes, read from JSON; those of kdopt begin with ``kd:``.
        worker: Who holds its lease; ``None`` without a lease, empty when it was taken back.
        lease_left_s: Seconds until the lease lapses, negative when it has.
    """

    trial_id: int
    study: str
    number: int
    state: str
    params: dict[str, ParamValue]
    values: int
    attributes: dict[str, Any]
    worker: str | None
    lease_left_s: float

    @property
    def retried(self) -> bool:
        """Whether another row tries this failed cell again."""
        return self.state == "FAIL" and RETRIED_KEY in self.attributes

    @property
    def checkpoint(self) -> str | None:
        """sha256 of the weights that the trial kept."""
        return (self.attributes.get("kd:metrics") or {}).get("checkpoint")


def read_raw(store: Store, campaign: str) -> list[RawTrial]:
    """All rows of a campaign, retried ones included, in order of their ids."""
    trials_sql = sa.text(
        f"""
        SELECT t.trial_id, s.study_name, t.number, t.state, l.worker,
               coalesce(l.expires - {store.now}, 0) AS left_s,
               (SELECT count(*) FROM trial_values v WHERE v.trial_id = t.trial_id) AS n_values
        FROM trials t JOIN studies s ON s.study_id = t.study_id
        LEFT JOIN kdopt_lease l ON l.trial_id = t.trial_id
        WHERE {OF_CAMPAIGN} ORDER BY t.trial_id
        """
    )
    params_sql, attributes_sql = (
        sa.text(
            f"""
            SELECT x.trial_id, {columns} FROM {table} x
            JOIN trials t ON t.trial_id = x.trial_id JOIN studies s ON s.study_id = t.study_id
            WHERE {OF_CAMPAIGN} ORDER BY x.{order}
            """
        )
        for columns, table, order in (
            ("x.param_name, x.param_value, x.distribution_json", "trial_params", "param_id"),
            ("x.key, x.value_json", "trial_user_attributes", "trial_user_attribute_id"),
        )
    )

    def read() -> list[RawTrial]:
        cells: dict[int, dict[str, ParamValue]] = defaultdict(dict)
        attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        with store.read() as connection:
            rows = connection.execute(trials_sql, of_campaign(campaign)).all()
            for trial_id, name, value, distribution in connection.execute(
                params_sql, of_campaign(campaign)
            ):
                cells[trial_id][name] = read_value(value, distribution)
            for trial_id, key, text in connection.execute(attributes_sql, of_campaign(campaign)):
                attributes[trial_id][key] = json.loads(text)
        return [
            RawTrial(
                r.trial_id,
                r.study_name,
                r.number,
                str(r.state),
                cells[r.trial_id],
                r.n_values,
                attributes[r.trial_id],
                r.worker,
                float(r.left_s),
            )
            for r in rows
        ]

    return store.retry(read)
