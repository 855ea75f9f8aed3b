"""What merging another store's study into ours does to each trial: pure rules, no SQL.

A cell's result is a function of the spec, the cell and the pre-trained weights it rests on, so
what is merged is the further of two states: not done, failed, complete.

- Not done here: what the other store has is taken. A trial that runs here is taken from its worker
  when the other store has its result (as a reaper takes it: the worker's own is then refused), and
  left to its worker when the other has a failure.
- Failed here and queued again: only a result is taken, not another failure.
- Failed here, complete there: the result goes into a row of its own, as ``kdopt retry-failed``
  makes them; the failed row keeps its reason.
- Complete in both: ours stays. Results that differ (another processor, other versions) are counted
  and measured, never kept twice.
- Results that rest on other pre-trained weights than ours would mix two experiments in one grid;
  they are left out unless asked for.
- In studies with open trials the past decides what comes next, so only whole pasts are merged: if
  ours is the beginning of the other's, all that follows is taken; otherwise ours stays.

Seen from either side this gives the same results, and once more changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from kdopt.campaign.plain import load_json
from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import WHERE_IT_RAN
from kdopt.store.queries import Row, make_params_key


class Take(NamedTuple):
    """A trial to be ended here as it ended there; ``mixed``: it rests on other weights."""

    mine: Row
    theirs: Row
    mixed: bool


class Difference(NamedTuple):
    """Two results of one cell: its trial here, and the difference of test accuracy, pp."""

    number: int
    accuracy_pp: float


@dataclass(frozen=True)
class Decision:
    """What is to be done with one study.

    Attributes:
        take: Trials to be taken over.
        same: Cells that both have with the same result.
        differences: Cells that both have with another result.
        other_weights: Results left out because they rest on other pre-trained weights.
        parted: Where two pasts of an adaptive study part (a trial's number), if they do.
        unknown: Ended trials of cells that no spec asks for.
    """

    take: tuple[Take, ...] = ()
    same: int = 0
    differences: tuple[Difference, ...] = ()
    other_weights: int = 0
    parted: int | None = None
    unknown: int = 0


def decide(
    plan: StudyPlan, mine: Sequence[Row], theirs: Sequence[Row], same_weights: bool, mix: bool
) -> Decision:
    """What merging their rows of a study into ours does.

    Args:
        plan: The study, as the merged campaign plans it.
        mine: All our rows.
        theirs: All of theirs.
        same_weights: Whether both stores pre-trained the participants that it needs alike.
        mix: Also take what rests on other weights.
    """
    found = (_merge_adaptive if plan.open_trials else _merge_cells)(plan, mine, theirs)
    take = [t._replace(mixed=t.theirs.mixed or not same_weights) for t in found.take]
    if mix:
        return replace(found, take=tuple(take))
    # An adaptive study's past is taken as a whole or not at all.
    whole = bool(plan.open_trials) and any(t.mixed for t in take)
    left = [t for t in take if whole or t.mixed]
    kept = [t for t in take if not whole and not t.mixed]
    n_left = sum(t.theirs.state == "COMPLETE" for t in left)
    return replace(found, take=tuple(kept), other_weights=n_left)


def same_result(one: str, other: str) -> bool:
    """Whether two outcomes (their JSON) say the same, wherever and however fast they came about."""
    if one == other:
        return True
    mine, theirs = _parse_result(one), _parse_result(other)
    if "curve" not in mine or "curve" not in theirs:
        # Whether a learning curve is recorded changes no result.
        mine, theirs = ({k: v for k, v in r.items() if k != "curve"} for r in (mine, theirs))
    return mine == theirs


def _merge_cells(_plan: StudyPlan, mine: Sequence[Row], theirs: Sequence[Row]) -> Decision:
    """Studies whose cells are known beforehand: cell by cell."""
    by_cell = {make_params_key(row.params): row for row in mine if not row.retried}
    take, same, differences, unknown = [], 0, [], 0
    for their in theirs:
        if their.retried or their.state not in ("COMPLETE", "FAIL"):
            continue
        my = by_cell.get(make_params_key(their.params))
        if my is None:
            unknown += 1
        elif _is_further(my, their):
            take.append(Take(my, their, mixed=False))
        elif my.state == their.state == "COMPLETE":
            if same_result(my.result, their.result):
                same += 1
            else:
                differences.append(_measure_difference(my, their))
    return Decision(tuple(take), same, tuple(differences), unknown=unknown)


def _is_further(my: Row, their: Row) -> bool:
    if their.state == "COMPLETE":
        return my.state != "COMPLETE"
    # What was queued again here is not to fail for the reason it was queued again for.
    return my.state == "WAITING" and my.retry_of is None


class _Step(NamedTuple):
    """One ended trial of an adaptive study's past.

    ``number`` is that of the trial that was given the cell first: the seed of the sampler and what
    it knew belong to that number, whichever row tries the cell again.
    """

    number: int
    row: Row


def _merge_adaptive(plan: StudyPlan, mine: Sequence[Row], theirs: Sequence[Row]) -> Decision:
    """Studies with open trials: one past or the other, as a whole."""
    my_past, their_past = _list_past(mine), _list_past(theirs)
    # Failures at the end of a past decided nothing yet: the other may go on from before them.
    my_core, their_core = _without_last_failures(my_past), _without_last_failures(their_past)
    common = _count_common(my_past, their_past)
    same = sum(step.row.state == "COMPLETE" for step in my_past[:common])
    if common < len(my_core):
        parted = my_core[common].number if common < len(their_core) else None
        return Decision(same=same, parted=parted)
    here = {step.number: step.row for step in _list_steps(mine)}
    planned = {make_params_key(params) for params in plan.cells}
    take = []
    for number, their in their_past[len(my_core) :]:
        my = here.get(number)
        if my is None or not _fits_cell(my, their, planned):
            return Decision(same=same, parted=number)
        known = my.state == "FAIL" or my.retry_of is not None
        if their.state == "COMPLETE" or not known:
            take.append(Take(my, their, mixed=False))
    return Decision(tuple(take), same)


def _fits_cell(my: Row, their: Row, planned: Container[object]) -> bool:
    """Whether our row is the one that their cell belongs into."""
    if my.params:
        return make_params_key(my.params) == make_params_key(their.params)
    return my.state != "FAIL" and make_params_key(their.params) not in planned


def _list_steps(rows: Sequence[Row]) -> list[_Step]:
    """Rows that count, in order of the numbers of their first tries."""
    by_id = {row.trial_id: row for row in rows}

    def find_number(row: Row) -> int:
        first = by_id.get(row.retry_of) if row.retry_of is not None else None
        # A trial that failed before it had a cell gave its number to nobody.
        return find_number(first) if first is not None and first.params else row.number

    steps = [_Step(find_number(row), row) for row in rows if not row.retried]
    return sorted(steps, key=lambda step: step.number)


def _list_past(rows: Sequence[Row]) -> list[_Step]:
    return [s for s in _list_steps(rows) if s.row.state in ("COMPLETE", "FAIL") and s.row.params]


def _without_last_failures(past: list[_Step]) -> list[_Step]:
    end = len(past)
    while end and past[end - 1].row.state == "FAIL":
        end -= 1
    return past[:end]


def _count_common(one: Sequence[_Step], other: Sequence[_Step]) -> int:
    """How many steps two pasts have in common from the beginning."""
    return sum(1 for _ in itertools.takewhile(_is_same_step, zip(one, other, strict=False)))


def _is_same_step(pair: tuple[_Step, _Step]) -> bool:
    (number, my), (their_number, their) = pair
    if (number, my.state) != (their_number, their.state) or dict(my.params) != dict(their.params):
        return False
    return my.state == "FAIL" or same_result(my.result, their.result)


def _parse_result(text: str) -> dict[str, object]:
    # A result of an older version lacks what it did not know of, and a newer one leaves it empty.
    found = load_json(text).items()
    return {k: v for k, v in found if k not in WHERE_IT_RAN and v not in (None, [])}


def _measure_difference(my: Row, their: Row) -> Difference:
    ours, other = (load_json(row.result)["test"]["accuracy"] for row in (my, their))
    return Difference(my.number, 100 * abs(ours - other))
