"""The scale of every teacher's logits on its students' images, for ``scripts/levers.py``.

    python scripts/logit_scales.py --store one/kdopt.db --store other/kdopt.db > scales.json

A line per pair: the standard deviation of the logits (centred per image) and the mean margin of the
two greatest. Labels are not used, and nothing is trained. ``logit_scales.json`` beside this file
has them of the grids that come with kdopt. Artifacts are looked for beside each store.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.data.datasets import load_planned_dataset
from kdopt.features.measurements import read_pretrained
from kdopt.features.measuring import sample_images
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.queries import pick_campaign, read_record
from kdopt.train.engine import Engine
from kdopt.train.evaluation import predict_logits
from kdopt.trials.context import Context

DECIMALS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="append", required=True, help="repeat it for several")
    found: dict[str, list[float]] = {}
    for store in parser.parse_args().store:
        found |= measure_scales(Path(store))
    lines = [f"{json.dumps(pair)}: {json.dumps(scales)}" for pair, scales in sorted(found.items())]
    print("{\n" + ",\n".join(lines) + "\n}")


def measure_scales(path: Path) -> dict[str, list[float]]:
    """Deviation and margin by pair, of the only campaign of a store."""
    store = open_store(str(path))
    name = pick_campaign(store, None)
    record = read_record(store, name)
    artifacts = Artifacts(path.parent / "artifacts")
    engine = Engine(torch.device("cpu"), "fp32")
    context = Context(record, load_planned_dataset(record), artifacts, engine)
    found = {}
    for partition, trained in read_pretrained(store, name).items():
        images = {
            i: sample_images(context.get_transfer_set(partition, i, "student")) for i in trained
        }
        for teacher, outcome in trained.items():
            model = context.load_model(outcome)
            for student in trained:
                if student == teacher:
                    continue
                with torch.no_grad():
                    logits = predict_logits(model, images[student], engine).double()
                top = logits.topk(2, dim=1).values
                deviation = float((logits - logits.mean(dim=1, keepdim=True)).std())
                margin = float((top[:, 0] - top[:, 1]).mean())
                pair = f"{name}/{partition}/t{teacher:02d}-s{student:02d}"
                found[pair] = [round(deviation, DECIMALS), round(margin, DECIMALS)]
    store.close()
    return found


if __name__ == "__main__":
    main()
