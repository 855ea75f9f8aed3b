"""Which code a campaign uses that is not kdopt's, and whether it is here.

Planning finds the code by name and notes its hash. Whoever runs trials compares before anything is
run: a machine with other code is told what to give or to install. Only code that was found or
compared in this way is used, whatever else was offered.
"""

from __future__ import annotations

from kdopt.campaign.data_settings import DATASET_RULE, GIVEN
from kdopt.campaign.participants import split_model_name
from kdopt.campaign.plugin_methods import PluginMethod, PluginNames
from kdopt.campaign.record import CampaignRecord, CodeSource
from kdopt.campaign.settings import OWN_MODELS, Campaign
from kdopt.errors import KdoptError
from kdopt.plugins.declare import CodeKind, Declared
from kdopt.plugins.sources import (
    describe_package,
    find_offer,
    list_given_plugins,
    load_offer,
    run_plugin,
)

_in_use: dict[tuple[str, str], tuple[CodeSource, Declared]] = {}


def find_plugin_method(name: str) -> PluginMethod | None:
    """What is searched of a plugin's method, for a campaign file that names it.

    Raises:
        KdoptError: Several offer it, or what offers it cannot be run.
    """
    found = _find_code("method", name)
    return None if found is None else found[1].method


def find_plugin_dataset(name: str) -> bool:
    """Whether a plugin offers a data set; raises as :func:`find_plugin_method` does."""
    return _find_code("dataset", name) is not None


PLUGIN_NAMES = PluginNames(find_plugin_method, find_plugin_dataset)
"""What plugins offer here, for :func:`kdopt.campaign.spec.load_spec`."""


def get_code(kind: CodeKind, name: str) -> Declared | None:
    """What a campaign of this process uses under a name; ``None`` for what is kdopt's own."""
    return _in_use[kind, name][1] if (kind, name) in _in_use else None


def get_code_sha256(kind: CodeKind, name: str) -> str:
    """Which code that is; empty for what is kdopt's own or a library's."""
    return _in_use[kind, name][0].sha256 if (kind, name) in _in_use else ""


def find_code(campaign: Campaign) -> dict[str, CodeSource]:
    """Find the code that a campaign to be planned uses, and make it ready for use.

    Returns:
        Where it is from, by what uses it, as :class:`kdopt.campaign.record.CampaignRecord` has it.
        What nobody offers is left out: whoever needs it says so.

    Raises:
        KdoptError: Several offer the same, or what offers it cannot be run.
    """
    wanted: list[tuple[CodeKind, str]] = [("method", m.name) for m in campaign.tune.plugin_methods]
    if DATASET_RULE.holds(campaign.data.name):
        wanted.append(("dataset", campaign.data.name))
    found: dict[str, CodeSource] = {}
    for kind, name in wanted:
        found |= _use_code(kind, name)
    # Models that ``kdopt.tune`` was given are there already, whatever their classes are called.
    kinds = () if campaign.data.name == GIVEN else campaign.architectures
    for name in dict.fromkeys(kind.model for kind in kinds):
        library, _ = split_model_name(name)
        if library:
            package = describe_package(library)
            found |= {f"model {name}": package} if package else {}
        elif name not in OWN_MODELS:
            found |= use_model(name)
    return found


def use_recorded_code(record: CampaignRecord) -> None:
    """Make the code of a planned campaign ready for use, where this machine has the same.

    Raises:
        KdoptError: A file was not given or is another one, a package is not installed or has other
            code, or they do not offer what the campaign uses.
    """
    check_given_plugins(record)
    for key, source in record.code.items():
        if source.kind == "package":
            _check_package(record.campaign.name, key, source)
    for key, source in record.code.items():
        kind, _, name = key.partition(" ")
        if split_model_name(name)[0] and kind == "model":
            continue  # kdopt itself knows how to ask these libraries
        if kind not in ("model", "method", "dataset"):
            raise KdoptError(f"campaign '{record.campaign.name}': its record names code of no kind")
        _in_use[kind, name] = (source, _load_code(kind, name, source))  # type: ignore[arg-type]


def check_given_plugins(record: CampaignRecord) -> None:
    """Refuse to go on without the plugin files that a campaign was planned with; none is run.

    Raises:
        KdoptError: Says which file to give.
    """
    given = {file.source.sha256: file for file in list_given_plugins()}
    needed = {source for source in record.code.values() if source.kind == "file"}
    for source in sorted(needed):
        if source.sha256 in given:
            continue
        same_name = [file for file in given.values() if file.source.name == source.name]
        others = ", ".join(
            f"{f.path} ({f.source.sha256[:12]})" for f in same_name or given.values()
        )
        uses = ", ".join(k for k, s in record.code.items() if s.sha256 == source.sha256)
        raise KdoptError(
            f"campaign '{record.campaign.name}' uses code of a file {source.name!r}, sha256 "
            f"{source.sha256[:12]} ({uses}). "
            + (f"What was given here is another file: {others}. " if given else "")
            + "Code runs only where its file is given: if you trust it, add --plugin "
            f"PATH/{source.name} with the very file, or set KDOPT_PLUGINS"
        )


def _use_code(kind: CodeKind, name: str) -> dict[str, CodeSource]:
    found = _find_code(kind, name)
    if found is None:
        return {}
    _in_use[kind, name] = found
    return {f"{kind} {name}": found[0]}


def use_model(name: str) -> dict[str, CodeSource]:
    """Find a model that is neither kdopt's nor a library's by prefix; see :func:`find_code`."""
    from kdopt.train.models import list_models  # loads torch, as will whoever builds the model

    taken = name in list_models()
    given = any(_list_offers("model", name))
    if taken and given:
        raise KdoptError(
            f"model '{name}': torchvision has a model of this name, and so has a file that was "
            f"given by --plugin; rename that one, and write torchvision:{name} for torchvision's"
        )
    # An installed package does not change what a name of torchvision means.
    return {} if taken else _use_code("model", name)


def _find_code(kind: CodeKind, name: str) -> tuple[CodeSource, Declared] | None:
    """What offers something here: a file that was given, else an installed package."""
    offers = _list_offers(kind, name)
    if len(offers) > 1:
        raise KdoptError(f"{kind} '{name}': several files that were given offer it; leave one out")
    if offers:
        return offers[0]
    point = find_offer(kind, name)
    if point is None or point.dist is None:
        return None
    package = describe_package(point.dist.name)
    return None if package is None else (package, load_offer(kind, point))


def _list_offers(kind: CodeKind, name: str) -> list[tuple[CodeSource, Declared]]:
    return [
        (file.source, declared)
        for file in list_given_plugins()
        for declared in run_plugin(file)
        if (declared.kind, declared.name) == (kind, name)
    ]


def _load_code(kind: CodeKind, name: str, source: CodeSource) -> Declared:
    if source.kind == "file":
        file = next(f for f in list_given_plugins() if f.source.sha256 == source.sha256)
        offered = [d for d in run_plugin(file) if (d.kind, d.name) == (kind, name)]
        if offered:
            return offered[0]
    else:
        point = find_offer(kind, name)
        if point is not None and point.dist is not None and point.dist.name == source.name:
            return load_offer(kind, point)
    raise KdoptError(
        f"{kind} '{name}': {source.kind} {source.name!r} does not offer it, and the campaign was "
        "planned with one that does"
    )


def _check_package(campaign: str, key: str, source: CodeSource) -> None:
    found = describe_package(source.name)
    if found == source:
        return
    here = "which is not installed here"
    if found is not None and found.version != source.version:
        here = f"and this machine has {found.version}"
    elif found is not None:
        here = "and the files of that version are others here"
    raise KdoptError(
        f"campaign '{campaign}' was planned with {source.name} {source.version} ({key}), {here}; "
        f"pip install {'--force-reinstall ' if found else ''}'{source.name}=={source.version}'"
    )
