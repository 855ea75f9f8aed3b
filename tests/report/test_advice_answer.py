import dataclasses
import json
import math
import re

import pytest

from kdopt.advice.advise import advise_pair
from kdopt.advice.training_set import DO_NOTHING, TRAIN_ON
from kdopt.report.advice_answer import ADVICE_SCHEMA, format_advice, format_advice_json
from tests.advice.planted import LOW, VANILLA, planted


def answer(text, name):
    """The lines of a labelled part of an answer."""
    parts: dict[str, list[str]] = {}
    for line in text.splitlines():
        label, rest = line[:10].strip(), line[10:]
        name_ = label or list(parts)[-1]
        parts.setdefault(name_, []).append(rest)
    return parts[name]


def test_an_answer_to_distil():
    found = advise_pair(planted(noise=1.0), {"accuracy_gap": 30.0})
    text = format_advice(found, "a pair")
    assert answer(text, "Pair") == ["a pair; on the student's own labelled images"]
    assert answer(text, "Advice")[0] == "Tuned, T=4, alpha=0.9"
    assert answer(text, "Because")[0].startswith(
        "rule 'decision tree': on partitions that were not learnt from it lost 0."
    )
    assert answer(text, "Because")[1] == "no rule lost less"
    gain, net = answer(text, "Expected")
    value = re.escape(f"+{found.expected.gain.value:.2f}")
    assert re.match(
        rf"test gain {value} pp promised; on partitions that were not learnt from such promises "
        r"were .* on average, and \d\.\d\d pp off either way; 80 % interval .* to .* "
        r"\(such intervals held \d\d % of the gains there\)",
        gain,
    )
    assert net.startswith("net gain not known: the control")
    assert "kept only where validation rises" in answer(text, "Tree")[1]
    assert answer(text, "Tree")[0].startswith("accuracy gap (teacher - student) > ")
    assert "most similar: planted/" in answer(text, "Evidence")[1]
    assert "Caution" not in text


def test_without_labels_it_is_said_whose_all_of_a_gain_is():
    found = advise_pair(planted(noise=1.0), {"accuracy_gap": 30.0})
    rule = "so all of a gain counts as the teacher's"
    for situation, there in (("public_unlabeled", True), ("public_labeled", False)):
        learnt = dataclasses.replace(found.training_set, situation=situation)
        text = format_advice(found._replace(training_set=learnt), "a pair")
        assert any(rule in line for line in answer(text, "Expected")) is there


def test_every_rule_stands_beside_the_one_that_leads():
    found = advise_pair(planted(noise=1.0), {"accuracy_gap": 30.0})
    head, *lines = answer(format_advice(found, "a pair"), "Rules")
    assert head.split() == ["says", "here", "regret", "95", "%", "gain", "net", "gain", "bias"]
    assert len(lines) == len(found.rules)
    assert [line.startswith("* decision tree") for line in lines] == [False] * 5 + [True]


def test_an_answer_not_to_distil():
    text = format_advice(advise_pair(planted(), {"accuracy_gap": -30.0}), "a pair")
    assert answer(text, "Advice") == ["Leave as it is"]
    assert answer(text, "Expected")[0] == "0 pp: the student stays as it is"
    assert answer(text, "Expected")[1].startswith(
        "distilling anyway (Tuned, T=1, alpha=0.1): test gain -2.00 pp promised"
    )


def test_an_answer_to_train_on_tells_what_a_teacher_would_add():
    actions = (DO_NOTHING, TRAIN_ON, VANILLA, LOW)
    gains = dict.fromkeys(actions[1:], 4.0)
    training_set = planted(lambda _: gains, noise=1.0, actions=actions)
    text = format_advice(advise_pair(training_set, {"accuracy_gap": 30.0}), "a pair")
    assert answer(text, "Advice") == ["Train on without a teacher"]
    _, own_net, anyway, net = answer(text, "Expected")
    assert own_net == "net gain 0 pp: no teacher is used"
    assert anyway.startswith("distilling anyway (") and re.match(r"net gain [+-]0\.", net)


def test_a_simpler_rule_that_leads_says_what_it_is_not_beaten_by_measurably():
    # The tree is led astray or hardly better: what every pair wants is vanilla.
    gains = {VANILLA: 3.0, LOW: 2.9}
    actions = (DO_NOTHING, VANILLA, LOW)
    for seed in range(20):
        training_set = planted(lambda _: gains, noise=1.0, actions=actions, seed=seed)
        found = advise_pair(training_set, {"accuracy_gap": 30.0})
        lost = found.regrets.set_index("policy")["regret"]
        if lost["vanilla"] > lost[["cell", "action", "tree"]].min():
            break
    assert found.lead.name == "vanilla"
    first, second = answer(format_advice(found, "a pair"), "Because")
    assert first.startswith("rule 'always vanilla'")
    assert "the difference of 0." in second
    assert "is not measurable for the best of 6 rules, so the simpler one leads" in second


def test_caution_beyond_what_was_seen():
    text = format_advice(advise_pair(planted(), {"accuracy_gap": 75.0}), "a pair")
    assert answer(text, "Caution") == [
        "accuracy gap (teacher - student): 75 pp is outside the range that was seen "
        "(-40 pp to 40 pp)"
    ]


@pytest.mark.parametrize("gap", [30.0, -30.0])
def test_json_says_the_same(gap):
    known = {"accuracy_gap": gap, "disagreement": math.nan}
    found = advise_pair(planted(noise=1.0), known)
    record = json.loads(format_advice_json(found, "a pair", known))
    assert record["schema"] == ADVICE_SCHEMA
    assert record["distil"] == (found.lead.action != DO_NOTHING) == (record["method"] != "none")
    assert record["rule"] == {"name": "tree", "label": "decision tree"}
    assert record["gain"]["value"] == found.expected.gain.value
    assert (record["anyway"] is None) == record["distil"]
    assert record["features"] == {"accuracy_gap": gap}
    assert record["learnt_from"]["cases"] == 150
    assert [rule["name"] for rule in record["rules"]] == [rule.name for rule in found.rules]
    assert record["searches"]["oracle"] == 0 and record["measured"] is None
    assert sum(record["tree"]["partitions"].values()) == record["tree"]["cases"]
    assert (record["temperature"] is None) == (record["method"] in ("none", "dml", "dp_kd"))
