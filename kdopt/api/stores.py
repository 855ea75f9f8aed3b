"""A store and its campaigns, for notebooks and scripts.

    import kdopt

    with kdopt.open("storage/kdopt.db") as store:
        campaign = store["quickstart"]
        campaign.best()
        campaign.plot_map()

Nothing here trains or writes, and nothing needs the images. What a campaign shows is the store's
state when it was first asked; :meth:`OpenCampaign.refresh` asks again. Studies are Optuna's own:
:meth:`OpenCampaign.load_study` gives one to ``optuna.visualization``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from kdopt.analysis.tables import Tables
from kdopt.campaign.names import study_name
from kdopt.campaign.settings import Campaign
from kdopt.errors import AdviceError
from kdopt.features.measurements import read_measurements
from kdopt.outcome import Pair
from kdopt.report.blocks import ReportData
from kdopt.report.export import name_trials, write_report
from kdopt.shown import format_count, format_setting
from kdopt.store.database import Store, open_store
from kdopt.store.engines import open_optuna_storage
from kdopt.store.queries import (
    list_campaigns,
    pick_campaign,
    read_record,
    read_study_counts,
    read_trials,
)
from kdopt.typed import check_choice, refuse_empty

if TYPE_CHECKING:
    # Slow to import, and needed by few.
    import optuna
    import plotly.graph_objects as go


class OpenStore(Mapping[str, "OpenCampaign"]):
    """A store: its campaigns by name.

    Args:
        location: Path of an SQLite file, or the URL of a database.

    Raises:
        InputError: The location is an empty text.
        StoreError: There is no store there, or it cannot be opened.
    """

    def __init__(self, location: str | Path = "storage/kdopt.db") -> None:
        refuse_empty(location=location)
        self._store = open_store(str(location))

    def __getitem__(self, name: str) -> OpenCampaign:
        """A campaign; ``StoreError`` names those that there are."""
        refuse_empty(name=name)
        return OpenCampaign(self._store, pick_campaign(self._store, name))

    def __iter__(self) -> Iterator[str]:
        return iter(list_campaigns(self._store))

    def __len__(self) -> int:
        return len(list_campaigns(self._store))

    def __contains__(self, name: object) -> bool:
        return name in list_campaigns(self._store)

    def __repr__(self) -> str:
        return f"<kdopt store {self._store.label}: {', '.join(self) or 'no campaign'}>"

    def __enter__(self) -> OpenStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pick(self, name: str | None = None) -> OpenCampaign:
        """The campaign of that name, or the only one of the store."""
        refuse_empty(name=name)
        return OpenCampaign(self._store, pick_campaign(self._store, name))

    def close(self) -> None:
        """Close the database."""
        self._store.close()


class OpenCampaign:
    """A campaign of a store.

    Attributes:
        name: Its name.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name

    def __repr__(self) -> str:
        states = [row.state for row in self.tables.results.rows]
        done = states.count("COMPLETE")
        return (
            f"<kdopt campaign {self.name}: {done:,} of {format_count(len(states), 'trial')} done>"
        )

    @property
    def settings(self) -> Campaign:
        """What was planned."""
        return self.tables.campaign

    @cached_property
    def tables(self) -> Tables:
        """Every table of the report; each is computed when it is first read."""
        record = read_record(self._store, self.name)
        return Tables(read_trials(self._store, self.name), record.campaign)

    def refresh(self) -> OpenCampaign:
        """Read the store again when something is asked next."""
        vars(self).pop("tables", None)
        return self

    def best(
        self,
        partition: str | None = None,
        teacher: int | None = None,
        student: int | None = None,
    ) -> pd.DataFrame:
        """What to do with each pair: the verdicts of ``kdopt best`` and ``verdicts.csv``.

        Args:
            partition: Only pairs of this one.
            teacher: Only pairs with this teacher, by number.
            student: Only pairs with this student, by number.

        Raises:
            InputError: The campaign has no such partition.
        """
        self._check_partition(partition)
        table = self.tables.verdicts
        for key, wanted in zip(Pair._fields, (partition, teacher, student), strict=True):
            if wanted is not None:
                table = table[table[key] == wanted]
        return table.reset_index(drop=True)

    def trials(self) -> pd.DataFrame:
        """Every trial with all that it recorded, as ``trials.csv`` has them."""
        return pd.DataFrame(name_trials(self.tables.results.rows, self.settings))

    def curves(self) -> pd.DataFrame:
        """The learning curves: ``monitored`` on validation after each ``epoch`` of each trial.

        Trials with ``patience = 0`` have one only where ``learning_curves`` is ``all``.
        """
        lines = [
            (row.study, row.number, epoch, value)
            for row in self.tables.results.rows
            if row.outcome is not None
            for epoch, value in enumerate(row.outcome.curve, start=1)
        ]
        return pd.DataFrame(lines, columns=["study", "number", "epoch", "monitored"])

    def surface(
        self,
        partition: str,
        teacher: int,
        student: int,
        on: Literal["validation", "test"] = "test",
    ) -> pd.DataFrame:
        """The gain in pp at every measured setting of a pair: temperatures down, alphas across.

        Raises:
            InputError: ``partition`` or ``on`` is none that there is.
            AdviceError: The campaign has no such pair, or nothing of it was tuned.
        """
        self._check_partition(partition)
        check_choice("on", on, ("validation", "test"))
        points = self.tables.results.points.get(Pair(partition, teacher, student))
        if not points:
            raise AdviceError(
                f"campaign '{self.name}' has no tuned trial of partition '{partition}', teacher "
                f"{teacher}, student {student}; best() lists its pairs"
            )
        gains = [(p.temperature, p.alpha, getattr(p, f"{on}_gain")) for p in points]
        table = pd.DataFrame(gains, columns=["temperature", "alpha", "gain_pp"])
        return table.pivot(index="temperature", columns="alpha", values="gain_pp")

    def plot_surface(
        self,
        partition: str,
        teacher: int,
        student: int,
        on: Literal["validation", "test"] = "test",
    ) -> go.Figure:
        """The same as a heat map; a notebook shows it when it is the last line of a cell.

        Where a sampler chose the settings, each is a point.
        """
        import plotly.graph_objects as go

        surface = self.surface(partition, teacher, student, on)
        on_grid = not surface.isna().to_numpy().any()
        title = f"{on} gain (pp)"
        figure = go.Figure(_draw_cells(surface, title) if on_grid else _draw_points(surface, title))
        figure.update_layout(
            title=f"{self.name}/{Pair(partition, teacher, student).label}, {partition}",
            xaxis={"title": "alpha (weight of the teacher)"},
            yaxis={"title": "temperature T"},
        )
        kind = "category" if on_grid else None
        figure.update_xaxes(type=kind).update_yaxes(type=kind or "log")
        return figure

    def plot_map(
        self, partition: str | None = None, kind: Literal["alpha", "temperature", "gain"] = "gain"
    ) -> go.Figure:
        """Best settings, or gains, of all pairs against their accuracy gap (paper, Fig. 3).

        Args:
            partition: Only pairs of this one.
            kind: What is shown.

        Raises:
            InputError: ``partition`` or ``kind`` is none that there is.
        """
        import plotly.graph_objects as go

        from kdopt.report.setting_maps import MAPS

        self._check_partition(partition)
        check_choice("kind", kind, MAPS)
        best = self.tables.best_settings
        if partition is not None:
            best = best[best["partition"] == partition]
        title, draw = MAPS[kind]
        return go.Figure(draw(best, self.settings)).update_layout(title=title)

    def load_study(
        self,
        partition: str,
        teacher: int,
        student: int,
        stage: Literal["tune", "compare"] = "tune",
        method: str | None = None,
    ) -> optuna.Study:
        """The Optuna study of a pair, for ``optuna.visualization`` and ``trials_dataframe``.

        To look at: whoever optimizes it takes trials away from kdopt's workers.

        Args:
            partition: The partition.
            teacher: By number.
            student: By number.
            stage: Which of the pair's studies.
            method: A tuned method with a study of its own, such as ``dkd``.

        Raises:
            InputError: ``partition`` or ``stage`` is none that there is, or ``method`` is empty.
            AdviceError: The campaign has no such study.
        """
        import optuna

        self._check_partition(partition)
        check_choice("stage", stage, ("tune", "compare"))
        refuse_empty(method=method)
        name = study_name(self.name, partition, stage, teacher, student, method)
        if all(name != state.study for state in read_study_counts(self._store, self.name)):
            raise AdviceError(
                f"campaign '{self.name}' has no study '{name}'; trials() lists those that it has"
            )
        return optuna.load_study(study_name=name, storage=open_optuna_storage(self._store.url))

    def report(self, folder: str | Path) -> Path:
        """Write the report: tables, and a page, whose path is given back.

        Raises:
            InputError: The folder is an empty text.
        """
        refuse_empty(folder=folder)
        record = read_record(self._store, self.name)
        data = ReportData(
            record.campaign,
            read_trials(self._store, self.name),
            record.settings,
            read_measurements(self._store, self.name),
            record.class_names,
            record.code,
        )
        return write_report(Path(folder), data)[-1]

    def _check_partition(self, name: str | None) -> None:
        if name is not None:
            check_choice("partition", name, [p.name for p in self.settings.partitions])


def _draw_cells(surface: pd.DataFrame, title: str) -> dict[str, object]:
    return {
        "type": "heatmap",
        "x": [format_setting(float(alpha)) for alpha in surface.columns],
        "y": [format_setting(float(t)) for t in surface.index],
        "z": surface.to_numpy(),
        "zmid": 0,
        "colorscale": "RdBu",
        "texttemplate": "%{z:.2f}",
        "colorbar": {"title": {"text": title}},
    }


def _draw_points(surface: pd.DataFrame, title: str) -> dict[str, object]:
    gains = surface.stack().dropna()
    return {
        "type": "scatter",
        "x": gains.index.get_level_values("alpha"),
        "y": gains.index.get_level_values("temperature"),
        "mode": "markers+text",
        "text": [f"{gain:.2f}" for gain in gains],
        "textposition": "top center",
        "marker": {
            "color": gains.to_numpy(),
            "cmid": 0,
            "colorscale": "RdBu",
            "size": 14,
            "line": {"width": 1},
            "colorbar": {"title": {"text": title}},
        },
    }
