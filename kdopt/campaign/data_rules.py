"""What a campaign file may say of its data, beyond each value's own rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdopt.campaign.data_settings import HF, OWN_SOURCES, TORCHVISION, DataSettings
from kdopt.campaign.fields import list_fields
from kdopt.campaign.settings import CampaignFile

DOWNLOADED = ("fashion_mnist", "cifar10", f"{TORCHVISION}CIFAR10")
USED_BY: Mapping[str, tuple[str, ...]] = {
    "columns": ("arrays", HF),
    "classes": ("arrays", HF),
    "test_fraction": ("arrays", HF, TORCHVISION),
    "value_range": ("arrays", HF),
    "padding": ("arrays", HF),
    "vocabulary": ("arrays", HF),
}
"""Keys of ``[data]`` that some data sets use only: their names, or how these begin."""


def list_data_problems(file: CampaignFile, raw: Mapping[str, Any], public: bool) -> list[str]:
    """Every problem with ``[data]`` and with the public data of ``[transfer]``.

    Args:
        file: The campaign file.
        raw: Its text, as defaults are no fault.
        public: Whether any stage uses a public set.
    """
    return [*_list_source_problems(file.data, raw), *_list_public_problems(file, public)]


def _list_source_problems(data: DataSettings, raw: Mapping[str, Any]) -> Iterator[str]:
    defaults = {field.name: field.default for field in list_fields(DataSettings)}
    for key, users in USED_BY.items():
        # A written default says nothing.
        if getattr(data, key) != defaults[key] and not data.name.startswith(users):
            names = ", ".join(f"{user}..." if user.endswith(":") else user for user in users)
            yield f"data.{key} = {raw['data'][key]!r}: it goes with {names}; leave it out"
    new = data.name not in (*OWN_SOURCES, *DOWNLOADED) or data.name == "arrays"
    if new and data.download:
        yield (
            f"data.download = true: '{data.name}' is read from local files only; leave it out "
            f"(kdopt downloads {', '.join(DOWNLOADED)} alone)"
        )
    if new and data.drop_cifar:
        yield f"data.drop_cifar = true: '{data.name}' has no images of CIFAR-10 in it; leave it out"
    if data.name == "arrays" and data.root is None:
        yield "data.root: missing; set it to the file of arrays (npz, safetensors or Parquet)"
    if data.name.startswith(HF) and data.root is not None:
        yield f"data.root = '{data.root}': the name says the folder already; leave it out"
    if len(data.mean) != len(data.std):
        yield (
            f"data.mean has {len(data.mean)} values, data.std {len(data.std)}; give both alike, or "
            "neither"
        )
    if data.mean and data.normalization == "none":
        yield "data.normalization = 'none': mean and std are given; leave one or the other out"


def _list_public_problems(file: CampaignFile, public: bool) -> Iterator[str]:
    transfer = file.transfer
    if transfer.public_data is None:
        return
    if not public:
        yield (
            f"transfer.public_data = '{transfer.public_data}': no stage uses a public set; leave "
            "it out, or add one, such as compare.transfer_sets = ['public_unlabeled_small']"
        )
    if transfer.public_labeled:
        yield (
            f"transfer.public_labeled = {transfer.public_labeled}: the images of "
            "transfer.public_data have no labels; set it to 0, or leave public_data out (public "
            "sets are then held out of the training images)"
        )
