import dataclasses
import json

import pytest

from kdopt.campaign.compatibility import fingerprint
from kdopt.campaign.participants import Architecture
from kdopt.campaign.record import format_campaign
from kdopt.campaign.rules import TRAINS_TEACHER
from kdopt.campaign.settings import Campaign
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.errors import SpecError

OWN = """
name = "mine"
partitions = ["own"]
stages = ["tune"]
[data]
name = "digits"
[[participant]]
name = "berlin"
model = "cnn"
weights = "berlin.safetensors"
data = "berlin"
[[participant]]
name = "big"
model = "resnet18"
weights = "big.pt"
classes = ["0", "1"]
[[participant]]
name = "paris"
model = "mlp"
data = "paris"
"""
MIXED = 'name = "mixed"\nmodel = ["cnn", "mlp"]\nparticipants = 5\n[data]\nname = "digits"\n'


def test_who_has_no_images_teaches_only():
    campaign = parse_spec(OWN).campaign
    assert campaign.participants == 3
    assert campaign.learners == [0, 2]
    assert campaign.pairs == [(0, 2), (1, 0), (1, 2), (2, 0)]
    plans = {plan.stage: plan for plan in plan_studies(campaign)}
    assert len(plans["pretrain"].cells) == 3
    assert {cell["student"] for cell in plans["control"].cells} == {0, 2}


def test_listed_participants_are_counted_and_nothing_else_says_how_many():
    lines = {line.key: line for line in parse_spec(OWN).settings}
    assert lines["participants"][1:] == ("3", "as many as are listed")
    assert {line.key: line for line in parse_spec(MIXED).settings}["participants"].source == "spec"


def test_models_in_a_list_are_taken_in_turn():
    campaign = parse_spec(MIXED).campaign
    names = [campaign.get_architecture(i).model for i in range(5)]
    assert names == ["cnn", "mlp", "cnn", "mlp", "cnn"]
    assert campaign.architectures == {Architecture("cnn"): [0, 2, 4], Architecture("mlp"): [1, 3]}


@pytest.mark.parametrize("text", [OWN, MIXED])
def test_a_campaign_is_read_back_from_its_file_and_from_the_store(text):
    spec = parse_spec(text)
    assert parse_spec(format_campaign(spec.campaign, spec.settings)).campaign == spec.campaign
    kept = json.loads(json.dumps(dataclasses.asdict(spec.campaign)))
    assert Campaign.from_json(kept) == spec.campaign


@pytest.mark.parametrize(
    "change",
    [('model = "cnn"', 'model = "mlp"'), ('"big"', '"large"'), ('["0", "1"]', '["1", "0"]'),
     ('data = "paris"', 'data = "paris"\nimage_size = 16')],
)  # fmt: skip
def test_what_a_participant_is_belongs_to_what_a_campaign_means(change):
    before, now = (fingerprint(parse_spec(t).campaign) for t in (OWN, OWN.replace(*change, 1)))
    assert before != now


def test_where_its_files_are_does_not():
    moved = OWN.replace("berlin.safetensors", "/elsewhere/b.pt")
    moved = moved.replace('data = "paris"', 'data = "/elsewhere/paris"')
    assert moved.count("/elsewhere/") == 2
    assert fingerprint(parse_spec(moved).campaign) == fingerprint(parse_spec(OWN).campaign)


def test_augmentation_belongs_to_what_a_campaign_means():
    plain = MIXED
    some = [
        plain,
        plain + 'augment = ["crop_flip"]\n',
        plain + 'augment = ["crop_flip"]\nviews = 3\n',
    ]
    assert len({json.dumps(fingerprint(parse_spec(text).campaign)) for text in some}) == 3


def twice(text):
    return text.replace('name = "paris"', 'name = "berlin"')


SIZES = (
    OWN.replace('stages = ["tune"]', 'stages = ["federate"]')
    .replace(
        'model = "resnet18"\nweights = "big.pt"\nclasses = ["0", "1"]',
        'model = "cnn"\ndata = "big"\nimage_size = 16',
    )
    .replace('model = "mlp"', 'model = "cnn"')
)

REFUSED = [
    (OWN.replace('["own"]', '["uniform"]'), "go with partitions = [\"own\"]"),
    (OWN.replace('["own"]', '["own", "uniform"]'), "'own' stands alone"),
    (OWN.replace('stages = ["tune"]', 'stages = ["tune"]\nparticipants = 4'), "3 [[participant]]"),
    (OWN.replace('stages = ["tune"]', 'stages = ["tune"]\ndraws = 2'), "draws = 2"),
    (OWN.replace('"tune"', '"federate"'), "cnn, mlp, resnet18"),
    (OWN.replace('"tune"', '"federate"'), "big has none"),
    (SIZES, "here they have cnn in different ways"),
    (twice(OWN), "participant.name = 'berlin': two have this name"),
    (OWN.replace('data = "berlin"\n', "").replace('data = "paris"\n', ""), "none can be a student"),
    (OWN.replace('data = "paris"\n', ""), "'paris': it has neither weights nor data"),
    (OWN.replace('model = "mlp"', 'modle = "mlp"'), "did you mean 'model'?"),
    (OWN.replace('model = "mlp"', "mean = [0.5]"), "1 value of mean, 0 of std"),
    (MIXED.replace("[data]", 'stages = ["federate"]\n[data]'), "fedavg averages weights"),
    (MIXED.replace("[data]", 'initial_weights = "shared"\n[data]'), "cannot share weights"),
    (MIXED.replace('"mlp"]', "3]"), "models[1] = 3"),
    ('name = "x"\npartitions = ["own"]\n[data]\nname = "digits"\n', "none can be a student"),
]  # fmt: skip

GIVEN = OWN.replace('model = "resnet18"\nweights = "big.pt"', 'logits = "big.npz"')


def with_logits(*changes):
    text = GIVEN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


AUGMENT = ("[data]", '[data]\naugment = ["crop_flip"]')
COMPARE = ('stages = ["tune"]', 'stages = ["tune", "compare"]')
REFUSED += [
    (with_logits(('logits', 'model = "cnn"\nmean = [0.5]\nstd = [0.5]\nlogits')),
     "'big': it is given by its logits, so it has no model, and cannot learn; leave out model, "
     "mean, std"),
    (with_logits(('logits', 'data = "big"\nlogits')), "leave out data, or leave out logits"),
    (OWN.replace('weights = "big.pt"', 'weights = "big.pt"\noutputs = "probabilities"'),
     "'big': outputs = 'probabilities' says what a file of logits holds"),
    (with_logits(('"tune"', '"combine"')), "combine weighs teachers by how they do on each class"),
    (with_logits(('"tune"', '"federate"')), "leave federate out, or give it weights"),
    (with_logits(COMPARE),
     "compare.methods: dml trains the teacher along; participant 'big' is given by logits, so say "
     'compare.methods = ["vanilla", "dp_kd"], or give it weights'),
    (with_logits(('[data]', '[tune]\nmethods = ["dml"]\n[data]')), "leave stage tune out"),
    (with_logits(AUGMENT), "the teacher has to see every view of an image"),
    (with_logits(('["own"]', '["uniform"]')), "'big': logits go with partitions"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_refused_with_value_rule_and_fix(text, said):
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert said in str(caught.value)


def test_a_teacher_given_by_logits_has_no_model_and_never_learns():
    campaign = parse_spec(GIVEN).campaign
    assert campaign.pairs == [(0, 2), (1, 0), (1, 2), (2, 0)]
    assert campaign.architectures == {Architecture("cnn"): [0], Architecture("mlp"): [2]}
    spec = parse_spec(GIVEN)
    assert parse_spec(format_campaign(spec.campaign, spec.settings)).campaign == campaign
    # Which file it is does not count; what is in it does, by its hash in the record.
    moved = parse_spec(GIVEN.replace("big.npz", "/elsewhere/big.npz")).campaign
    assert fingerprint(moved) == fingerprint(campaign)
    alike = GIVEN.replace('"mlp"', '"cnn"')
    assert fingerprint(parse_spec(alike).campaign) != fingerprint(campaign)


def test_a_teacher_given_by_logits_goes_with_one_model_for_all_others():
    alike = GIVEN.replace('"mlp"', '"cnn"')
    text = alike.replace('name = "mine"', 'name = "mine"\ninitial_weights = "shared"')
    assert parse_spec(text).campaign.initial_weights == "shared"


def test_methods_that_train_the_teacher_are_known_by_name():
    # Here, as it needs torch; the rule itself must not.
    from kdopt.train.methods.registry import METHODS_BY_NAME

    both = {name for name, method in METHODS_BY_NAME.items() if method.trains_both}
    assert both == TRAINS_TEACHER
