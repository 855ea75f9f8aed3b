"""The columns of exported files: their names, with the unit, and what they mean.

Tables inside kdopt have short names. Files have names that say the unit: ``_pp`` is percentage
points, ``_percent`` is percent, ``_share`` is in [0, 1]. The same thing has the same name in every
file. ``docs/export-columns.md`` is made from :data:`EXPORT_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from kdopt.campaign.names import pair_label


class ExportColumn(NamedTuple):
    """One column of exported files.

    Attributes:
        key: Its name in kdopt's own tables.
        name: In files.
        meaning: What it is, in a few words.
    """

    key: str
    name: str
    meaning: str


def _read_columns(text: str) -> Iterator[ExportColumn]:
    """Lines of key, unit (or ``=`` and another name), and meaning."""
    for line in text.strip().splitlines():
        key, unit, meaning = (part.strip() for part in line.split("|"))
        name = unit[1:] if unit.startswith("=") else f"{key}_{unit}" if unit else key
        yield ExportColumn(key, name, meaning)


EXPORT_COLUMNS = {
    column.key: column
    for column in _read_columns("""
accuracy | percent | test accuracy
accuracy_after | percent | the student's test accuracy after following the verdict
accuracy_before | percent | the untouched student's test accuracy
accuracy_gap | pp | test accuracy of the teacher minus that of the student
accuracy_sd | pp | its standard deviation over replicates
action | =verdict | what to do with the pair: leave as it is, train on, distil, or undecided
advice | =verdict | what to do with the pair: leave as it is, train on, distil, or undecided
advice_method | =verdict_method | by which method to distil; empty for other verdicts
advice_transfer_set | =verdict_transfer_set | on which images to distil or to train on
advised_gain | =verdict_gain_pp | test gain of following the verdict
advised_net_gain | =verdict_net_gain_pp | of it because of the teacher
agreement | | whether two campaigns agree in the contrast
algorithm | | federated algorithm: fedavg, feddf, fedmd or def_kt
alpha | | weight of the teacher's term, in [0, 1]
alpha_correlation | | rank correlation of best alphas within partitions
batch_norm | | batch-norm statistics of the kept student, where both were tried: running or measured
best_epoch | | epoch whose weights were kept, counted from 1
bound | | exact, at least or at most: whether both runs reached the target
campaign | | name of the campaign
cells_done | | cells of the pair's search with a complete trial
cells_failed | | cells whose trials failed
cells_planned | | cells of the search
chance_inside | share | chance of such a number if the truth is outside the range
chance_outside | share | chance of such a number if the truth is inside the range
chance_over_leaving | share | chance of such a lead over leaving it, corrected for the tries
chance_over_training | share | chance of such a lead over training on, corrected for the tries
checkpoint | sha256 | sha256 of the weights, where they are kept
claim | | number of the paper's claim
claimed | | range that the paper claims, in the unit of the line
claimed_range | | range that the paper claims, in the unit of the line
class | | number of the class, counted from 0; in data of figures its name
complete | | whether every cell is complete
contrast | | what is compared
contrast_verdict | | supported, contradicted, undecided or no data
control_gain | pp | test gain of training on without a teacher
control_validation_gain | pp | the same on validation
device | | where the trial ran
effective_kd_weight | | factor of the teacher's term over that of the labels
effective_kd_weight_correlation | | rank correlation of KD weights within partitions
epochs | | epochs trained
error | | why a trial failed
family | | way of partitioning, which all draws of a partition share
first | | one campaign
first_high | | upper end of the 95 % interval over participants in the first campaign
first_low | | lower end of the 95 % interval over participants in the first campaign
first_n | | units of the first campaign
first_value | | the number in the first campaign
first_verdict | | the verdict on the contrast in the first campaign
final_accuracy | percent | test accuracy after the last round
final_accuracy_sd | pp | its standard deviation over replicates
first_accuracy | percent | test accuracy before the first round
forgetting | pp | mean over classes of the falls of test accuracy
gain | pp | test gain over the starting student
high | | upper end of the 95 % interval over participants (section V: partitions), in its unit
image_error | | half the 95 % interval of the value over other test images, in its unit
initial_model | | what federated rounds start from
key | | name of the setting
kind | | of the target: absolute, or relative to FedAvg's final accuracy
label | | the measure in words
lacks_labels | | whether the transfer set has no labels
last_test_accuracy | percent | test accuracy after the last epoch
last_validation_accuracy | percent | validation accuracy after the last epoch
learning | pp | mean over classes of the rises of test accuracy
line_position | | place of the kept student on the student line: 0 untouched, 1 trained
low | | lower end of the 95 % interval over participants (section V: partitions), in its unit
measure | | what is measured
megabytes_consolidated | | traffic until the target after consolidation
megabytes_random | | traffic until the target from random weights
megabytes_reduction | percent | reduction of traffic
megabytes_to_target | | traffic until the target is reached; empty where it never is
method | | vanilla, tuned, dml, dp_kd or another method
n | | pairs, or units that the line is about
need | | what is missing to judge the claim
net_gain | pp | test gain beyond training on without a teacher
net_gain_correlation | | rank correlation of net gains within partitions
net_high | =net_gain_high_pp | upper end of its 95 % interval over other test images
net_low | =net_gain_low_pp | lower end of its 95 % interval over other test images
net_vanilla_gain | pp | vanilla's test gain beyond training on
number | | number of the trial in its study
objective | | Optuna's value: pp of validation gain, or share of validation images
oracle_alpha | | alpha selected on the test set
oracle_gain | pp | test gain selected on the test set: optimistic
oracle_temperature | | temperature selected on the test set
pair | | teacher and student, as tNN-sNN
paper | | the claim in the paper's words
paper_accuracy | percent | the accuracy in the paper
participant | | number of the participant
participant_name | | its name, where participants have names
partition | | name of the partition
precision | | fp32 or bf16
reduction | =rounds_reduction_percent | reduction of rounds
remark | | on how the claim is judged
replicate | | number of the replicate, counted from 0
replicates | | replicates that the line is a mean of
round | | communication round, 0 before the first
round_bytes | | bytes sent in a round, to and from participants
round_megabytes | | the same in 1e6 bytes
rounds | | rounds that were run
rounds_consolidated | | rounds until the target after consolidation
rounds_random | | rounds until the target from random weights
rounds_to_target | | rounds until the target; empty where it is never reached
rounds_test_accuracy | percent | accuracy on test by round
rounds_validation_accuracy | percent | accuracy on validation by round
same_alpha | percent | shared pairs with the same best alpha
same_alpha_by_chance | percent | the same by chance
same_images | | whether participants have the same images
same_point | percent | shared pairs with the same best temperature and alpha
same_point_by_chance | percent | the same by chance
same_side | | whether both numbers lie on the same side of the range
same_temperature | percent | shared pairs with the same best temperature
same_temperature_by_chance | percent | the same by chance
same_verdict | | shared pairs with the same verdict
second | | the other campaign
second_high | | upper end of the 95 % interval over participants in the second campaign
second_low | | lower end of the 95 % interval over participants in the second campaign
second_n | | units of the second campaign
second_value | | the number in the second campaign
second_verdict | | the verdict on the contrast in the second campaign
seconds | | wall time of the trial
setting | | values of the parameters of a tuned method other than plain distillation
source | | stage that the number is from
stage | | stage of the trial
start | | student that a combination starts from
start_bytes | | bytes sent and received to make the initial model
start_megabytes | | the same in 1e6 bytes
started_from | | participant that the stage chose to start from
state | | WAITING, RUNNING, COMPLETE or FAIL
student | | number of the student
student_name | | name of the student, where participants have names
student_accuracy | percent | the untouched student's test accuracy
study | | name of the Optuna study
target | share | target as a share: of images, or of FedAvg's final accuracy
target_accuracy | percent | the target as a test accuracy
teacher | | number of the teacher
teacher_accuracy | percent | the teacher's test accuracy
teacher_name | | name of the teacher, where participants have names
teacher_kind | | much weaker, similar or strong
temperature | | distillation temperature
temperature_correlation | | rank correlation of best temperatures within partitions
test_accuracy | percent | accuracy on test
test_before_accuracy | percent | the untouched student's accuracy on test
test_before_loss | nats | the same of the untouched student
test_before_per_class | percent | the same of the untouched student
test_gain | pp | gain of test accuracy over the untouched student
test_gain_correlation | | rank correlation of test gains within partitions
test_gain_sd | pp | its standard deviation over replicates
test_loss | nats | mean cross-entropy on test
test_per_class | percent | accuracy of each class on test
transfer_set | | images that the student is trained on
trials_done | | complete trials of the pair's search
total_megabytes | | traffic of all rounds, making the start included
tried | | candidates that the verdict chose from
unit | | of value, low and high
validation_accuracy | percent | accuracy on validation
validation_before_accuracy | percent | the untouched student's accuracy on validation
validation_before_loss | nats | the same of the untouched student
validation_before_per_class | percent | the same of the untouched student
validation_gain | pp | gain of validation accuracy over the untouched student
validation_gap | pp | validation accuracy of the teacher minus that of the student
validation_loss | nats | mean cross-entropy on validation
validation_per_class | percent | accuracy of each class on validation
value | | the number, in the unit of its line
vanilla_gain | pp | test gain of vanilla distillation
vanilla_validation_gain | pp | the same on validation
verdict | | what was concluded
verdicts | | shared pairs with a verdict in both
version_kdopt | | version that the trial ran with; the same of other packages
weighting | | how teachers are weighted
""")
}
"""Every column that has a meaning of its own, by key."""


def name_export_column(key: str) -> str:
    """The name of a column in files; one that is not listed keeps its own."""
    return EXPORT_COLUMNS[key].name if key in EXPORT_COLUMNS else key


def label_pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the column ``pair`` after partition, where it is about teachers and students."""
    if not {"teacher", "student"} <= set(frame.columns) or "pair" in frame.columns:
        return frame
    numbers = zip(frame["teacher"], frame["student"], strict=True)
    labels = [pair_label(int(teacher), int(student)) for teacher, student in numbers]
    labelled = frame.copy()
    labelled.insert(list(frame.columns).index("teacher"), "pair", labels)
    return labelled
