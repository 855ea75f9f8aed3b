"""How a campaign may change in its store: it may grow, and nothing else.

What the store keeps is the union of everything that was ever planned under the campaign's name,
so what a trial means never depends on which spec was planned last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from kdopt.campaign.federated_algorithms import ALGORITHM_TABLES
from kdopt.campaign.fields import MoreWork, list_fields
from kdopt.campaign.method_spaces import SPACES
from kdopt.campaign.names import StageName
from kdopt.campaign.plugin_methods import PluginMethod
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import NO_PUBLIC_SETS, Campaign
from kdopt.campaign.stage_settings import (
    CombineSettings,
    FederateSettings,
    TuneSettings,
)
from kdopt.errors import StoreError

READERS: Mapping[str, tuple[StageName, ...]] = {
    "compare": ("compare",),
    "combine": ("combine", "federate"),
    "federate": ("federate",),
}
"""Tables of the campaign file, and the stages that read them. All pairs are compared with vanilla
distillation, so ``[tune]`` is always read."""

OF_CONSOLIDATED = ("start", "transfer_set", "weighting")
"""Settings of ``[federate]`` that only the consolidated model needs."""

NOT_OF_PRETRAINING = (
    *("name", "partitions", "stages", "replicates", "draws", "control", "keep", "select_on"),
    *("distill", "tune", "compare", "combine", "federate", "transfer"),
    *("student_line", "batch_norm", "learning_curves"),
)
"""Settings of which pre-training knows nothing: what they do to splits shows in the splits."""

NOT_OF_IMAGES = ("root", "download", "checksum")
"""Settings of ``[data]`` that say where images are, not what they are."""

T = TypeVar("T")
S = TypeVar("S")


def list_differences(before: CampaignRecord, now: CampaignRecord) -> list[str]:
    """What makes trials of two specs compute different results; empty when nothing does.

    Images and splits are compared by their content, not by the settings they were made with:
    every partition that was ever planned keeps its split.
    """
    old, new = fingerprint(before.campaign), fingerprint(now.campaign)
    changed = sorted(key for key in old.keys() & new.keys() if old[key] != new[key])
    if before.data_sha256 != now.data_sha256:
        changed.append("data (the images are not the same)")
    elif not changed:
        changed += [
            f"partition.{name} (the participants' images are not the same)"
            for name in sorted(before.splits.keys() & now.splits.keys())
            if before.splits[name] != now.splits[name]
        ]
    by_logits = {row.name for row in now.campaign.participant if row.logits is not None}
    changed += [
        f"participant {name} (its {'logits' if name in by_logits else 'weights'} are not the same)"
        for name in sorted(before.weights.keys() | now.weights.keys())
        if before.weights.get(name) != now.weights.get(name)
    ]
    changed += [
        f"{key} (its code is not the same)"
        for key in sorted(before.code.keys() & now.code.keys())
        # The same file under another name is the same code.
        if before.code[key].sha256 != now.code[key].sha256
    ]
    if before.prior and now.prior and before.prior != now.prior and "tune.prior" not in changed:
        changed.append("tune.prior (the prior is not the same)")
    return changed


def check_same_meaning(before: CampaignRecord, now: CampaignRecord) -> None:
    """Refuse a spec that would change the results of trials already planned.

    Raises:
        StoreError: Names what differs.
    """
    changed = list_differences(before, now)
    if "transfer" in changed and before.campaign.transfer == NO_PUBLIC_SETS:
        raise StoreError(
            f"campaign '{now.campaign.name}' was partitioned in this store without public transfer "
            "sets, so none can be held out now. Set all three sizes of [transfer] to 0 (new trials "
            "then use the students' data only), or give the campaign another name"
        )
    if "transfer" in changed and now.campaign.transfer == NO_PUBLIC_SETS:
        kept = asdict(before.campaign.transfer).items()
        sizes = ", ".join(f"{k} = {v}" for k, v in kept if v is not None)
        raise StoreError(
            f"campaign '{now.campaign.name}' was partitioned in this store with public transfer "
            "sets held out, and nothing in the file uses them, so now none would be. Write them "
            f"into [transfer] to go on with that partition ({sizes}), or give the campaign another "
            "name"
        )
    if changed:
        raise StoreError(
            f"campaign '{now.campaign.name}' is in this store already with other values of: "
            f"{', '.join(changed)}; its trials would not be comparable. "
            "Change them back, give the campaign another name, or use another --store"
        )


def unite_records(before: CampaignRecord, now: CampaignRecord) -> CampaignRecord:
    """The union of two specs of the same meaning; the newer one decides the order.

    A spec without a stage says nothing about the stage's settings: those of the other spec stay
    as they are, and no defaults are added.
    """
    old, new = before.campaign, now.campaign
    names = {p.name for p in new.partitions}
    campaign = replace(
        new,
        replicates=max(old.replicates, new.replicates),
        partitions=(*new.partitions, *(p for p in old.partitions if p.name not in names)),
        stages=_unite_lists(new.stages, old.stages),
        control=old.control or new.control,
        draws=max(old.draws, new.draws),
        tune=_unite_tune(old, new),
        compare=_unite_settings(
            old, new, ("compare",), lambda c: c.compare, ("methods", "transfer_sets")
        ),
        combine=_unite_combine(old, new),
        federate=_unite_federate(old, new),
    )
    return replace(
        now,
        campaign=campaign,
        splits={**before.splits, **now.splits},
        code={**before.code, **now.code},
        prior=before.prior or now.prior,
    )


def _unite_settings(
    old: Campaign,
    new: Campaign,
    stages: tuple[StageName, ...],
    settings: Callable[[Campaign], S],
    lists: tuple[str, ...],
) -> S:
    """The settings of stages from whichever campaign has one, their lists united if both have."""
    had, has = (bool(set(stages) & set(c.stages)) for c in (old, new))
    if not (had and has):
        return settings(old if had else new)
    before, now = settings(old), settings(new)
    united = {key: _unite_lists(getattr(now, key), getattr(before, key)) for key in lists}
    return replace(now, **united)  # type: ignore[type-var]


def _unite_tune(old: Campaign, new: Campaign) -> TuneSettings:
    lists = ("temperatures", "alphas", "methods")
    merged = _unite_settings(old, new, ("tune",), lambda c: c.tune, lists)
    if not ("tune" in old.stages and "tune" in new.stages):
        return merged
    spaces = {method: _unite_space(method, old.tune, new.tune) for method in SPACES}
    return replace(
        merged,
        budget=max(old.tune.budget, new.tune.budget),
        plugin_methods=_unite_plugin_methods(old.tune, new.tune),
        **spaces,
    )


def _unite_plugin_methods(old: TuneSettings, new: TuneSettings) -> tuple[PluginMethod, ...]:
    """The methods of both, with the values of both; one of both is the same code in both."""
    before = {method.name: method for method in old.plugin_methods}
    united = {**before, **{method.name: method for method in new.plugin_methods}}
    for name in before.keys() & {method.name for method in new.plugin_methods}:
        values = {param.name: param.values for param in before[name].params}
        params = (
            replace(param, values=_unite_lists(param.values, values.get(param.name, ())))
            for param in united[name].params
        )
        united[name] = replace(united[name], params=tuple(params))
    return tuple(united.values())


def _unite_space(method: str, old: TuneSettings, new: TuneSettings) -> Any:
    before, now = getattr(old, method), getattr(new, method)
    if not (method in old.methods and method in new.methods):
        return before if method in old.methods else now
    names = [field.name for field in fields(now)]
    return replace(now, **{n: _unite_lists(getattr(now, n), getattr(before, n)) for n in names})


def _unite_combine(old: Campaign, new: Campaign) -> CombineSettings:
    # Federated averaging reads how weights are applied and the budget; what is tried is combine's.
    shared = _unite_settings(old, new, ("combine", "federate"), lambda c: c.combine, ())
    lists = ("starts", "transfer_sets", "weightings")
    tried = _unite_settings(old, new, ("combine",), lambda c: c.combine, lists)
    return replace(
        tried,
        weight_terms=shared.weight_terms,
        epochs=shared.epochs,
        patience=shared.patience,
    )


def _unite_federate(old: Campaign, new: Campaign) -> FederateSettings:
    lists = ("initial_models", "algorithms", "own_starts")
    merged = _unite_settings(old, new, ("federate",), lambda c: c.federate, lists)
    if "federate" not in old.stages or "federate" not in new.stages:
        return merged
    # The newer spec says nothing about what it does not use.
    unused = list_unused_settings(new.federate)
    return replace(merged, **{key: getattr(old.federate, key) for key in unused})


def list_unused_settings(settings: FederateSettings) -> list[str]:
    """Settings of ``[federate]`` that none of its algorithms and starts uses."""
    found = [name for name in ALGORITHM_TABLES if name not in settings.algorithms]
    if not settings.asking_public:
        found.append("public_set")
    return found if settings.uses_consolidated else [*OF_CONSOLIDATED, *found]


def _unite_lists(first: Iterable[T], second: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def describe_pretraining(record: CampaignRecord, partition: str) -> dict[str, object]:
    """All that decides what pre-training a partition's participants gives, but for the machine.

    Settings are left out by name: one that is new counts until somebody knows that it does not.
    """
    values = asdict(record.campaign)
    for key in NOT_OF_PRETRAINING:
        values.pop(key, None)
    for key in NOT_OF_IMAGES:
        values["data"].pop(key, None)
    images, split = record.data_sha256, record.splits[partition]
    found = {**values, "partition": partition, "images": images, "split": split}
    code = {key: source for key, source in record.code.items() if key.startswith("model ")}
    return {**found, "weights": dict(record.weights), "code": code}


def fingerprint(campaign: Campaign) -> dict[str, str]:
    """What the trials of a campaign mean, one hash per setting, so that differences can be named.

    Two specs with the same fingerprint, images and splits give the same outcome for the same
    params. What only adds work is left out, and so are the settings of stages that the campaign
    does not have (they may be chosen when it grows by them). So is what decides images and splits:
    these are compared by their content (see :func:`list_differences`).
    """
    values = asdict(campaign)
    alone = (
        *("seed", "participants", "precision", "select_on", "transfer", "initial_weights"),
        *("student_line", "batch_norm"),
    )
    # Where the public images are is no matter; which they are, the data's digest tells.
    values["transfer"].pop("public_data")
    parts = {key: values[key] for key in (*alone, "pretrain", "distill")}
    kinds = [campaign.get_architecture(i) for i in range(campaign.participants)]
    # One for all does not depend on how many there are.
    parts["model"] = kinds if len(set(kinds)) > 1 else kinds[:1]
    parts["participant"] = [p.name for p in campaign.participant]
    # One validation set serves all partitions, also those that a grown spec adds.
    parts["data.validation_fraction"] = values["data"]["validation_fraction"]
    parts["data.validation"] = values["data"]["validation"]
    augment = campaign.data.augment
    parts["data.augment"] = [augment, campaign.data.views] if augment else []
    for key in ("normalization", "mean", "std", "padding", "vocabulary"):
        parts[f"data.{key}"] = values["data"][key]
    tables = [table for table, stages in READERS.items() if set(stages) & set(campaign.stages)]
    for table in ("tune", *tables):
        for field in list_fields(type(getattr(campaign, table))):
            if not any(isinstance(mark, MoreWork) for mark in field.marks):
                parts[f"{table}.{field.name}"] = values[table][field.name]
    if "tune" not in campaign.stages:
        parts.pop("tune.search")
    for key in list_unused_settings(campaign.federate):
        parts.pop(f"federate.{key}", None)
    return {key: _hash_json(value) for key, value in parts.items()}


def _hash_json(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
