"""The page's section on advice for new pairs: the decision tree, its rules and its regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.advice.advise import MIN_TRAINING_PAIRS, MIN_TRAINING_PARTITIONS, has_enough_pairs
from kdopt.advice.policies import FIXED_POLICIES, TREE_POLICY, compare_policies
from kdopt.advice.training_set import (
    DO_NOTHING,
    SITUATIONS,
    Situation,
    TrainingCampaign,
    TrainingSet,
    build_training_set,
)
from kdopt.advice.tree import AdviceTree, grow_tree
from kdopt.campaign.settings import Campaign
from kdopt.features.definitions import MODEL_FEATURES
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.advice_text import (
    METHOD_TITLES,
    SITUATION_TITLES,
    action_title,
    band_text,
    condition,
    evidence_text,
    regret_text,
    rules_text,
)
from kdopt.report.blocks import Block, Drawn, Heading, Part, Table, table_of
from kdopt.report.tables import points
from kdopt.report.tree_figure import tree_figure

NOTE = (
    "Fig. 8 of the paper, learnt from this campaign: what to do with a new pair, from what is "
    "known before anything is distilled. A tree is learnt on validation gains, relative to the "
    "best of each pair, and judged on test gains of partitions that it was not learnt from. "
    "'kdopt recommend' asks it about a pair."
)
RULE_COLUMNS = (
    "rule",
    "advice",
    "as_good",
    "gain",
    "guarded_gain",
    "searched_gain",
    "cases",
)


class Learnt(NamedTuple):
    """What was learnt of one situation; the tree is ``None`` where there is too little."""

    training_set: TrainingSet
    tree: AdviceTree | None
    regrets: pd.DataFrame


def learn(sources: Sequence[TrainingCampaign]) -> dict[Situation, Learnt]:
    """The trees of all situations, and how they do on what they do not know."""
    found: dict[Situation, Learnt] = {}
    for situation in SITUATIONS:
        known = build_training_set(sources, situation)
        tree = grow_tree(known, known.usable_features) if has_enough_pairs(known) else None
        tables = [compare_policies(known, left_out) for left_out in ("partition", "participant")]
        found[situation] = Learnt(known, tree, pd.concat(tables, ignore_index=True))
    return found


def advice_parts(
    campaign: Campaign, rows: Sequence[TrialRow], measurements: Mapping[str, PartitionMeasurements]
) -> tuple[list[Part], dict[str, str]]:
    """The section of the page and the texts of the report, both empty where no pair is distilled.

    Args:
        campaign: What was run.
        rows: Its trials, in any state and order.
        measurements: What was measured of its partitions; empty where nothing was.

    Returns:
        One section or none, and the content of further files by name.
    """
    found = learn([TrainingCampaign(campaign, rows, measurements)])
    if not {"tune", "compare"} & {*campaign.stages, *(row.stage for row in rows)}:
        return [], {}
    drawn: dict[str, Drawn] = {}
    blocks = []
    for situation, learnt in found.items():
        if situation != "own" and not len(learnt.training_set):
            continue  # one block says what is missing
        blocks.append(_block(situation, learnt))
        if learnt.tree is not None:
            name = _figure_id(situation)
            drawn[name] = Drawn(name, tree_figure(learnt.tree), rules_frame(learnt.tree))
    return [Part("advice", "Advice for new pairs", NOTE, blocks, drawn)], advice_texts(found)


def rules_frame(tree: AdviceTree) -> pd.DataFrame:
    """One line per advice: the conditions, what to do, and what it gained on test, in pp.

    ``guarded_gain`` is that of the best way to distil where it is tried once and kept only if
    validation rose, ``searched_gain`` that of trying everything; the last columns are the best
    action of each method.
    """
    methods = list(dict.fromkeys(a.method for a in tree.training_set.actions))
    lines: list[dict[str, object]] = []
    for leaf, path in tree.list_leaves():
        line: dict[str, object] = {
            "rule": " and ".join(map(condition, path)) or "always",
            "advice": action_title(leaf.action),
            "as_good": band_text(leaf),
            "gain": leaf.gain,
            "guarded_gain": leaf.guarded,
            "searched_gain": leaf.searched,
            "cases": len(leaf.members),
        }
        lines.append(line | {method: leaf.gains[method] for method in methods})
    return pd.DataFrame(lines, columns=[*RULE_COLUMNS, *methods])


def advice_texts(found: Mapping[Situation, Learnt]) -> dict[str, str]:
    """What was learnt as files: the rules as text and the regret tables as CSV, by file name."""
    rules = [rules_text(one.tree) for one in found.values() if one.tree is not None]
    if not rules:
        return {}
    regret = [
        f"{SITUATION_TITLES[name]}, a {left_out} left out:\n{regret_text(table)}"
        for name, one in found.items()
        for left_out, table in one.regrets.groupby("left_out", sort=False)
    ]
    return {"advice.txt": "\n".join([*rules, *regret])}


def _figure_id(situation: Situation) -> str:
    return f"advice-{situation.replace('_', '-')}"


def _block(situation: Situation, learnt: Learnt) -> Block:
    known, tree = learnt.training_set, learnt.tree
    title = f"To distil on {SITUATION_TITLES[situation]}"
    if tree is None:
        needs = 'the stages "tune" and "compare"' if situation == "own" else 'the stage "compare"'
        return Block(
            title,
            "",
            missing=f"Too little to learn from: {len(known)} finished cases of "
            f"{known.n_partitions} partitions. It takes {MIN_TRAINING_PAIRS} of "
            f"{MIN_TRAINING_PARTITIONS}, from {needs} with the grid sampler.",
        )
    note = (
        f"Learnt from {evidence_text(known)}. Gains are means on test over the cases that end "
        "there. T and alpha in the boxes: how far either can move without a clear loss. "
        f"{_loss_text(learnt.regrets)}"
    )
    if not any(f.name in known.usable_features for f in MODEL_FEATURES):
        note += " What the models say about the images was not measured: run 'kdopt features'."
    return Block(
        title,
        note,
        _figure_id(situation),
        [*_rule_table(tree), *_regret_tables(learnt.regrets)],
    )


def _loss_text(table: pd.DataFrame) -> str:
    """What the tree and the rules without questions lost on partitions they did not know."""
    found = table[table["left_out"] == "partition"].set_index("policy").to_dict("index")
    tree = found[TREE_POLICY]
    others = ", ".join(
        f"{found[name]['label']} {points(found[name]['regret'])}"
        for name in FIXED_POLICIES
        if name in found
    )
    return (
        "Behind the best way of each pair, on partitions that were not learnt from: decision tree "
        f"{points(tree['regret'])} pp (95 %: {points(tree['regret_low'])} to "
        f"{points(tree['regret_high'])}), {others}."
    )


def _rule_table(tree: AdviceTree) -> list[Table]:
    frame = rules_frame(tree)
    headings = [
        Heading("rule", "If", str),
        Heading("advice", "then", str),
        Heading("as_good", "as good", str),
        Heading("gain", "Test gain (pp)"),
        Heading("guarded_gain", "tried, kept where validation rises"),
        Heading("searched_gain", "everything tried"),
        Heading("cases", "Cases", str),
    ]
    methods = [m for m in frame.columns if m in METHOD_TITLES and m != DO_NOTHING.method]
    headings += [Heading(m, f"Best {METHOD_TITLES[m]} (pp)") for m in methods]
    return table_of("The rules, and what each method gained there", headings, frame)


def _regret_tables(table: pd.DataFrame) -> list[Table]:
    headings = [
        Heading("label", "What is done", str),
        Heading("trials", "Trials per pair", str),
        Heading("gain", "Test gain (pp)"),
        Heading("regret", "Regret (pp)"),
        Heading("regret_low", "95 % from"),
        Heading("regret_high", "to"),
        Heading("behind_tree", "Behind the tree (pp)"),
        Heading("behind_tree_low", "95 % from"),
        Heading("behind_tree_high", "to"),
        Heading("guarded_gain", "Gain with guard (pp)"),
        Heading("guarded_regret", "Regret with guard (pp)"),
    ]
    shown: list[Table] = []
    for left_out, part in table.groupby("left_out", sort=False):
        title = f"Regret on a {left_out} that was not learnt from"
        shown += table_of(title, headings, part)
    return shown
