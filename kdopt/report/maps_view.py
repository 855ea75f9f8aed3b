"""The page's maps of best settings, partition by partition (paper, Fig. 3, columns 1 and 2)."""

from __future__ import annotations

import pandas as pd

from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import Block, Drawn, Part, missing_stage, slug, title_of
from kdopt.report.figures import alpha_map, gain_map, temperature_map

MAPS = {
    "alpha": ("Best alpha against the accuracy gap", alpha_map),
    "temperature": ("Best temperature against the accuracy gap", temperature_map),
    "gain": ("Gain against the accuracy gap", gain_map),
}
SHORT = ("temperature", "alpha", "oracle_temperature", "oracle_alpha")


def maps_part(best: pd.DataFrame, campaign: Campaign, *, tuned: bool) -> Part:
    """Three maps per partition with a result, and what is missing in the others."""
    blocks, drawn = [], {}
    names = list(dict.fromkeys(map(str, best["partition"])))
    for number, name in enumerate(names):
        table = best[best["partition"] == name]
        known = table[table["accuracy_gap"].notna() & table["temperature"].notna()]
        title, small = title_of(name), {}
        for key, (caption, draw) in MAPS.items() if len(known) else ():
            # Element ids come from positions: names in a spec are not ours to trust.
            element = f"map-{number}-{key}"
            small[element] = caption
            file = f"fig3-{number + 1}-{slug(name)}-{key}"
            drawn[element] = Drawn(file, draw(table, campaign), table, SHORT)
        waiting = int((table["advice"] == "undecided").sum())
        missing = f"{waiting} of {len(table)} pairs have no result yet." if waiting else ""
        if not len(known):
            missing = "No data yet: no pair of this partition has a result; run the campaign on."
        blocks.append(Block(title, "", small=small, missing=missing))
    if not tuned:
        blocks = [Block("Best temperature and alpha", "", missing=missing_stage(campaign, "tune"))]
    return Part(
        "maps",
        "Best settings",
        "Fig. 3 of the paper: every point is a teacher-student pair at its best cell. A click on a "
        "point shows the pair. Crosses are pairs in which no cell gains on the selection set.",
        blocks,
        drawn,
    )
