"""The campaign file that ``kdopt new`` writes: small, runs anywhere, every line explained."""

from __future__ import annotations

STARTER = """\
# A campaign: which images, shared out how, among how many participants, and what is tried with each
# pair of teacher and student. Run it with:  kdopt run {path}
# Settings that are left out have the defaults of the paper: 'kdopt spec {path}' lists them all.

# What its studies are called in the store, and its report's folder. Letters, digits, ., _ and -.
name = "{name}"

# How many participants share the training images. Every ordered pair of two is studied, so 4 make
# 12 pairs for each way of sharing out; 10 make 90.
participants = 4

# What each participant trains: "mlp", "cnn" and "resnet18" are kdopt's own, other names are looked
# up in torchvision.
model = "cnn"

# How the images are shared out. "uniform": all alike; "label_dirichlet": classes unequally. There
# are "quantity_skew" (sizes unequally), "specialized" and "label_chunks" too.
partitions = ["uniform", "label_dirichlet"]

# What is done once all participants are trained. "tune": each pair's best temperature and alpha;
# "compare": methods with fixed settings; "combine" and "federate": one model of all.
stages = ["tune"]

# Students on the line from the untouched one (0) through the trained one (1) are tried, too. Each
# place costs an evaluation, no training; the best on validation is kept. The paper has no line.
student_line = [0.25, 0.5, 0.75, 1.25]

# Batch norm's statistics of each of these students: "both" tries those that go along the line and
# those measured again on the student's images: a pass of these and an evaluation more per place.
# "running" has only the first; the trained student's are then those of the paper.
batch_norm = "both"

# All random numbers are made from this one and from names, so the same file gives the same results.
seed = 0

[data]
# The images: "digits" needs no download; "fashion_mnist", "cifar10" and "cinic10" are downloaded or
# read from path; "folder" reads your own, a folder per class.
name = "digits"

# The part of the training images that nobody trains on: on it the best settings are chosen.
validation_fraction = 0.2

[partition.label_dirichlet]
# How unequally: a small number gives a participant few classes. The list repeats over participants.
concentration = [0.3, 1.0]

[pretrain]
# Each participant's own training: at most so many epochs ...
epochs = 15

# ... and no further once validation got no better for so many.
patience = 5

[distill]
# One trial of distillation. Few epochs are enough, as students are trained already.
epochs = 4

# 0 trains all epochs and looks at validation once, at the end.
patience = 0

[tune]
# How settings are tried. "warm" learns from pairs that were tuned before, at first those that come
# with kdopt. "grid" tries every temperature with every alpha; there is more in 'kdopt spec {path}'.
sampler = "warm"

# So many trials for each pair. A grid of the values below takes 30.
budget = 6

# Temperatures soften what the teacher says: at 1 it is taken as it is. "warm" searches from the
# least of them (or 1) to the greatest, "grid" tries just these.
temperatures = [0.1, 0.5, 1, 2, 4, 7]

# Alpha weighs the teacher against the labels: at 1 the teacher alone counts. "warm" searches from 0
# to 1, "grid" tries just these.
alphas = [0.1, 0.25, 0.5, 0.75, 0.9]
"""


def write_starter(name: str, path: str) -> str:
    """The text of a campaign file.

    Args:
        name: The campaign's name, by :data:`kdopt.campaign.names.CAMPAIGN_NAME`.
        path: What the file is called, for the commands in its comments.
    """
    return STARTER.format(name=name, path=path)
