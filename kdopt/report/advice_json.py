"""An advice for machines: one JSON object.

=================  ================================================================
``schema``         1; raised when a field is renamed, removed or changes its meaning
``about``          what was asked about
``situation``      ``own``, ``public_labeled`` or ``public_unlabeled``
``distil``         false: leave the student as it is
``method``         ``none``, ``vanilla``, ``tuned``, ``dml``, ``dp_kd``
``temperature``    of the advice, or null
``alpha``          likewise
``as_good``        ``temperature`` and ``alpha``: least and greatest, or null
``gain``           expected test gain of following the advice, pp
``guarded_gain``   if the best way to distil is tried and kept only where validation rises, pp
``searched_gain``  the same if every action is tried, pp
``distilling``     the best way to distil (the advice itself unless that is not to), its
                   expected gain in pp, and ``intervals`` of it: ``level``, ``low``, ``high``,
                   ``held`` (measured share of gains inside, or null)
``because``        list of ``feature``, ``threshold``, ``above``
``features``       those that were known and could be asked for
``outside``        features beyond what was seen: value, least, greatest
``cases``          finished cases that the advice rests on
``partitions``     how many of them each partition has
``nearest``        cases most alike
``learnt_from``    all that was learnt from: ``cases``, ``partitions``, ``campaigns``, ``left_out``
``simpler``        a rule that lost less than the tree: ``label``, its action, ``regret``; or null
``error``          with each partition left out once, pp: mean ``promise`` error, and per policy
                   ``regret``, ``low``, ``high``, ``guarded``
=================  ================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from kdopt.advice.advise import Advice
from kdopt.advice.training_set import DO_NOTHING, Action
from kdopt.advice.tree import Leaf

SCHEMA = 1
"""Version of what is written; fields may be added within one."""


def advice_json(advice: Advice, about: str, features: Mapping[str, float]) -> str:
    """The advice as indented JSON, without a newline at the end.

    Args:
        advice: The advice.
        about: What it was asked about.
        features: What was known of it.
    """
    leaf, training_set = advice.leaf, advice.training_set
    record = {
        "schema": SCHEMA,
        "about": about,
        "situation": training_set.situation,
        "distil": leaf.action != DO_NOTHING,
        **_action(leaf.action),
        "as_good": _band(leaf),
        "gain": leaf.gain,
        "guarded_gain": leaf.guarded,
        "searched_gain": leaf.searched,
        "distilling": {
            **_action(leaf.distil),
            "gain": advice.gain,
            "intervals": [interval._asdict() for interval in advice.intervals],
        },
        "because": [step._asdict() for step in advice.path],
        "features": {name: features[name] for name in advice.names},
        "outside": {name: list(values) for name, values in advice.outside.items()},
        "cases": len(leaf.members),
        "partitions": dict(leaf.partitions),
        "nearest": [
            {
                "campaign": near.campaign,
                **near.pair._asdict(),
                "transfer_set": near.transfer_set,
                "gain": near.gain,
            }
            for near in advice.nearest
        ],
        "learnt_from": {
            "cases": len(training_set),
            "partitions": training_set.n_partitions,
            "campaigns": sorted(set(training_set.pairs["campaign"])),
            "left_out": list(training_set.left_out),
        },
        "simpler": _simpler(advice),
        "error": {
            "promise": advice.error,
            "policies": {
                str(line["policy"]): {
                    "regret": line["regret"],
                    "low": line["regret_low"],
                    "high": line["regret_high"],
                    "guarded": line["guarded_regret"],
                }
                for line in advice.regrets.to_dict("records")
            },
        },
    }
    return json.dumps(_plain(record), indent=2, allow_nan=False)


def _action(action: Action) -> dict[str, Any]:
    return action._asdict()


def _simpler(advice: Advice) -> dict[str, Any] | None:
    rule = advice.simpler
    if rule is None:
        return None
    return {"label": rule.label, **_action(rule.action), "regret": rule.regret}


def _band(leaf: Leaf) -> dict[str, list[float]] | None:
    if leaf.band is None:
        return None
    return {name: list(bounds) for name, bounds in leaf.band._asdict().items()}


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
