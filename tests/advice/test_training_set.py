import dataclasses
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kdopt.advice.advise import advise_pair
from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import (
    DO_NOTHING,
    SITUATIONS,
    TRAIN_ON,
    Action,
    TrainingCampaign,
    TrainingSet,
    build_training_set,
    describe_action,
    find_situation,
    load_shipped_lessons,
    read_lessons,
    write_lessons,
)
from kdopt.campaign.names import study_name
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stage_settings import TRANSFER_SETS
from kdopt.outcome import Pair, TrialRow
from kdopt.search.prior import STUDIES_PRIOR, load_shipped_prior
from tests.advice.planted import planted
from tests.analysis.synthetic import (
    FIVE,
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
)

CAMPAIGN = compare_campaign()
ROWS = [*make_rows(CAMPAIGN), *compare_rows(CAMPAIGN)]
WHOLE = TrainingCampaign(CAMPAIGN, ROWS, {})
N_PAIRS = len(FIVE) * 12


def named(source, name):
    return source._replace(campaign=replace(source.campaign, name=name))


def test_every_pair_with_every_action():
    found = build_training_set([WHOLE], "own")
    cells = len(CAMPAIGN.tune.temperatures) * len(CAMPAIGN.tune.alphas)
    assert len(found) == N_PAIRS
    assert found.validation.shape == found.test.shape == (N_PAIRS, 1 + cells + 2)
    assert found.actions[:2] == (DO_NOTHING, Action("vanilla", 1.0, 0.5))
    assert {a.method for a in found.actions[2:]} == {"tuned", "dml", "dp_kd"}
    assert (found.validation[:, 0] == 0).all() and (found.test[:, 0] == 0).all()
    assert found.left_out == ()


def test_gains_are_those_of_the_trials():
    found = build_training_set([WHOLE], "own")
    place = {
        Pair(line["partition"], line["teacher"], line["student"]): i
        for i, line in enumerate(found.pairs.to_dict("records"))
    }
    for row in ROWS:
        if row.stage == "tune":
            t, a = row.params["temperature"], row.params["alpha"]
            action = Action("vanilla" if (t, a) == (1.0, 0.5) else "tuned", t, a)
        elif row.stage == "compare" and row.params["transfer_set"] == "student":
            if row.params["method"] == "vanilla":
                continue  # the tuned study's vanilla cell stands for both
            action = Action(row.params["method"])
        else:
            continue
        line = place[Pair(row.partition, row.teacher, row.student)]
        column = found.actions.index(action)
        assert found.validation[line, column] == row.outcome.validation_gain
        assert found.test[line, column] == row.outcome.test_gain


def control_rows(transfer_set="student"):
    """Every student trained on, which gains as many pp on test as its number says."""
    return [
        TrialRow(
            study_name("toy", partition, "control"),
            *(partition, "control", None, None, student, "COMPLETE"),
            {"student": student, "transfer_set": transfer_set, "replicate": 0},
            outcome(0.5, float(student)),
        )
        for partition in FIVE
        for student in range(CAMPAIGN.participants)
    ]


def test_training_on_is_an_action_where_the_control_ran():
    found = build_training_set([WHOLE._replace(rows=[*ROWS, *control_rows()])], "own")
    assert found.actions[:2] == (DO_NOTHING, TRAIN_ON)
    assert (found.test[:, 1] == found.pairs["student"]).all()
    assert (found.control == found.pairs["student"]).all()
    assert TRAIN_ON not in [found.actions[i] for i in found.distilling]
    assert len(found.distilling) == len(found.actions) - 2
    # The control on the student's own images is none of another set.
    public = build_training_set([WHOLE._replace(rows=[*ROWS, *control_rows()])], "public_labeled")
    assert TRAIN_ON not in public.actions and np.isnan(public.control).all()


def test_without_labels_the_untouched_student_is_the_control():
    assert (build_training_set([WHOLE], "public_unlabeled").control == 0).all()


def test_a_student_that_only_trained_on_is_no_case():
    only = WHOLE._replace(rows=[*control_rows(), *[r for r in ROWS if r.stage == "pretrain"]])
    assert len(build_training_set([only], "own")) == 0


def test_alpha_0_of_a_grid_is_the_control():
    campaign = compare_campaign(stages=("tune",))
    tune = replace(campaign.tune, alphas=(0.0, 0.5), temperatures=(1.0, 2.0))
    campaign = replace(campaign, tune=tune)
    found = build_training_set([TrainingCampaign(campaign, make_rows(campaign), {})], "own")
    assert [a.method for a in found.actions] == ["none", "control", "vanilla", "tuned"]


def test_draws_of_a_partition_are_of_one_family():
    partitions = (PartitionSettings("uniform"), PartitionSettings("uniform-2", family="uniform"))
    campaign = make_campaign(partitions=partitions)
    found = build_training_set([TrainingCampaign(campaign, make_rows(campaign), {})], "own")
    assert set(found.pairs["partition"]) == {"uniform", "uniform-2"}
    assert found.n_partitions == 1


def test_public_sets_have_their_own_actions():
    labelled = build_training_set([WHOLE], "public_labeled")
    assert [a.method for a in labelled.actions] == ["none", "vanilla", "dml", "dp_kd"]
    assert set(labelled.pairs["transfer_set"]) == {"public_labeled"}
    unlabelled = build_training_set([WHOLE], "public_unlabeled")
    assert len(unlabelled) == 2 * N_PAIRS
    sizes = unlabelled.pairs.groupby("transfer_set")["transfer_images"].unique()
    assert sizes["public_unlabeled_small"] == 50 and sizes["public_unlabeled_large"] == 500
    assert "transfer_images" in unlabelled.usable_features


def test_each_transfer_set_has_one_situation():
    assert {find_situation(name) for name in TRANSFER_SETS} == set(SITUATIONS)


def test_the_order_of_rows_does_not_matter():
    mixed = WHOLE._replace(rows=random.Random(1).sample(ROWS, len(ROWS)))
    one, other = build_training_set([WHOLE], "own"), build_training_set([mixed], "own")
    assert one.actions == other.actions
    assert one.pairs.equals(other.pairs)
    assert (one.validation == other.validation).all() and (one.test == other.test).all()


def test_a_pair_with_a_trial_missing_teaches_nothing_and_is_counted():
    lost = next(r for r in ROWS if r.stage == "tune")
    less = WHOLE._replace(rows=[r for r in ROWS if r is not lost])
    found = build_training_set([less], "own")
    assert len(found) == N_PAIRS - 1
    assert found.left_out == ("toy: 1 pair whose trials are not all complete",)


def test_replicates_that_are_not_all_there_are_not_complete():
    campaign = compare_campaign(replicates=2)
    rows = [*make_rows(campaign), *compare_rows(campaign)]
    whole = build_training_set([TrainingCampaign(campaign, rows, {})], "own")
    lost = next(r for r in rows if r.stage == "compare" and r.params["method"] == "dml")
    less = build_training_set(
        [TrainingCampaign(campaign, [r for r in rows if r is not lost], {})], "own"
    )
    assert len(whole) == N_PAIRS and len(less) == N_PAIRS - 1


def test_campaigns_are_pooled_when_they_tried_the_same():
    both = build_training_set([WHOLE, named(WHOLE, "other")], "own")
    assert len(both) == 2 * N_PAIRS
    assert set(both.pairs["campaign"]) == {"toy", "other"}


def test_a_campaign_that_never_tried_some_action_is_left_out_by_name():
    tuned = named(WHOLE._replace(rows=[r for r in ROWS if r.stage != "compare"]), "tuned-only")
    found = build_training_set([tuned, WHOLE], "own")
    assert set(found.pairs["campaign"]) == {"toy"}
    assert found.left_out == ("tuned-only: it never tried DML, DP-KD",)
    # By itself it can be learnt from.
    assert len(build_training_set([tuned], "own")) == N_PAIRS


def test_the_pair_that_is_asked_about_is_not_learnt_from():
    pair = Pair("uniform", 1, 2)
    found = build_training_set([WHOLE, named(WHOLE, "other")], "own", ("toy", pair))
    there = (found.pairs[["partition", "teacher", "student"]] == list(pair)).all(axis=1)
    assert list(found.pairs[there]["campaign"]) == ["other"]


def test_nothing_to_learn_from():
    campaign = make_campaign()
    for situation in SITUATIONS:
        found = build_training_set([TrainingCampaign(campaign, [], {})], situation)
        assert len(found) == 0 and found.actions == (DO_NOTHING,) and found.usable_features == []


def test_known_features_tell_pairs_apart_and_are_there_for_all():
    found = build_training_set([WHOLE], "own")
    assert "accuracy_gap" in found.usable_features
    assert "label_distance" not in found.usable_features  # nobody measured it
    some = found.select_pairs(np.array([0, 1]))
    some.pairs["accuracy_gap"] = 3.0
    assert "accuracy_gap" not in some.usable_features


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (DO_NOTHING, "leave as it is"),
        (TRAIN_ON, "train on without a teacher"),
        (Action("dml"), "DML"),
        (Action("tuned", 2.5, 0.25), "tuned at T=2.5, alpha=0.25"),
        (Action("vanilla", 1.0, 0.5), "vanilla at T=1, alpha=0.5"),
    ],
)
def test_actions_as_people_read_them(action, text):
    assert describe_action(action) == text


@pytest.fixture(scope="module")
def shipped():
    return load_shipped_lessons()


def assert_same(found: TrainingSet, expected: TrainingSet) -> None:
    assert (found.situation, found.actions) == (expected.situation, expected.actions)
    pd.testing.assert_frame_equal(found.pairs, expected.pairs)
    np.testing.assert_array_equal(found.validation, expected.validation)
    np.testing.assert_array_equal(found.test, expected.test)


def test_what_is_written_is_read_back_up_to_four_digits():
    exact = planted(noise=1.0)
    rounded = dataclasses.replace(
        exact,
        pairs=exact.pairs.round(4),
        validation=exact.validation.round(4),
        test=exact.test.round(4),
    )
    assert_same(read_lessons(write_lessons([exact]))["own"], rounded)


def test_numbers_that_are_not_known_stay_unknown():
    one = planted()
    one.pairs["disagreement"] = np.nan
    found = read_lessons(write_lessons([one]))["own"]
    assert found.pairs["disagreement"].isna().all()
    assert found.pairs["disagreement"].dtype == float


def test_the_lessons_that_come_with_kdopt_are_whole(shipped):
    assert list(shipped) == list(SITUATIONS)
    for situation, found in shipped.items():
        assert found.situation == situation and found.n_partitions == 5
        for _, pairs in found.pairs.groupby("campaign"):
            assert set(pairs["teacher"]) == set(pairs["student"]) >= set(range(4))
            assert pairs["family"].nunique() == 5
        assert np.isfinite(found.validation).all() and np.isfinite(found.test).all()
        assert not found.test[:, 0].any() and found.actions[0] == DO_NOTHING
        # All features are known, those of labels and models too.
        assert len(found.usable_features) >= 12
    own = shipped["own"]
    assert len(own) == len(load_shipped_prior([STUDIES_PRIOR]).pairs)
    # The 55 cells, the control, DML, DP-KD and leaving it.
    assert len(own.actions) == 59
    assert {Action("dml"), Action("dp_kd"), TRAIN_ON} < set(own.actions)
    by = own.pairs.groupby("family")
    # Those who know one class are right in little more than one of ten.
    assert by["student_accuracy"].mean().idxmin() == "specialized"


def test_a_student_has_one_control_whoever_would_teach_it(shipped):
    own = shipped["own"]
    gains = own.pairs.assign(control=own.control)
    assert (gains.groupby(["campaign", "partition", "student"])["control"].nunique() == 1).all()


def test_they_judge_and_advise(shipped):
    for found in shipped.values():
        table = compare_policies(found, names=["accuracy_gap"])
        assert table["regret"].notna().all() and table["net_gain"].notna().all()
    advice = advise_pair(shipped["own"], {"accuracy_gap": 20.0})
    assert advice.left_out == "partition"
    assert advice.anyway is None or 0.6 < advice.anyway.gain.held < 1
