"""What the page's terms of art and abbreviations mean.

Those that a page has are listed at its end, and its script marks where they first stand in prose.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Term(NamedTuple):
    """One term.

    Attributes:
        word: As the list has it.
        meaning: In a sentence without a full stop.
        pattern: Finds it in text, for Python and for scripts; empty for the word itself. A term
            with a capital is found in this case only.
    """

    word: str
    meaning: str
    pattern: str = ""

    @property
    def regex(self) -> str:
        """What finds the term as a whole word."""
        return rf"(?<![\w-])(?:{self.pattern or self.word})(?!\w)"

    @property
    def flags(self) -> str:
        """How a script has to read :attr:`regex`."""
        return "i" if self.word.islower() else ""

    def stands_in(self, text: str) -> bool:
        """Whether a text has the term."""
        return bool(re.search(self.regex, text, re.IGNORECASE if self.flags else 0))


def _read_terms(text: str) -> Iterator[Term]:
    """Lines of a word and, where it alone will not do, its pattern; below each its meaning."""
    for entry in re.split(r"\n(?=\S)", text.strip()):
        head, *meaning = entry.splitlines()
        word, _, pattern = head.partition(" | ")
        yield Term(word, " ".join(line.strip() for line in meaning), pattern)


TERMS: Sequence[Term] = tuple(
    _read_terms(r"""
95 % interval | 95 %(?: interval)?
    holds the true number in 95 of 100 such campaigns
accuracy gap
    accuracy of the teacher minus that of the student, in pp
alpha
    weight of the teacher in the loss: 0 learns from the labels alone, 1 from the teacher
    alone
better share
    weights a teacher by its share of the accuracy in a class, where it beats the student
cell | cells?
    one setting of a search, such as one temperature with one alpha
CIFAR-10, CINIC-10 | CI(?:FAR|NIC)(?:-10+)?
    public sets of small colour images in ten classes
compare.strong_margin | compare[.]strong_margin
    setting: so many pp above its student a teacher has to be to be called strong
consolidated | consolidat(?:ed|ion)
    a model that all participants of a partition were distilled into
control | controls?
    the same student trained on for as long without a teacher
Def-KT
    decentralized federated learning by mutual knowledge transfer: in each round models
    teach each other in pairs
Dirichlet | [Dd]irichlet
    every participant draws its shares of the classes from a Dirichlet distribution, so they
    are skewed
DIST
    distillation of relations: the student learns how probabilities of classes and of images
    relate, not their exact values
DKD
    decoupled knowledge distillation: the true class and all others have a term each
DML
    deep mutual learning: teacher and student train at once, each on the labels and on the
    other
DP-KD
    data-partitioning distillation: each image is taught by the teacher or by the untouched
    student, whichever is surer
draw 1, draw 2 | draw \d+
    one of several times that images were shared out in the same way
FedAvg | FedAvg|[Ff]ederated averaging
    federated averaging: participants train for a while, and the server averages their
    weights, round by round
FedDF
    federated averaging with a distillation from all participants on the server after each
    round
FedMD
    participants with models of their own learn from the mean of all answers on a public set
forgetting
    mean over classes of the falls of test accuracy
gain | gains?
    test accuracy after distillation minus before, in pp
guard | guard(?:ed)?
    distil only if the tried cells promise a gain on validation; else leave the student as
    it is
Holm's correction
    makes each of several tests stricter, so that all together err as rarely as one alone
II, III, IV-B | (?:III?|IV)(?:-[A-E])?
    sections and tables of the paper
KD | KD|[Kk]nowledge distillation
    knowledge distillation: a student learns from the softened answers of a teacher; alone,
    the plain loss with T and alpha
KD of standardised logits
    plain distillation after each image's scores were given mean 0 and standard deviation 1
KD on public sets
    plain distillation on public images without labels, with the untouched student as a
    second teacher
KD weight
    weight of the teacher's term over that of the labels
learning
    mean over classes of the rises of test accuracy
MB
    megabytes, 1e6 bytes
net gain | net(?: gains?)?
    what is left of a gain beyond that of the control: the teacher's part
NKD
    normalized knowledge distillation: the classes other than the true one are normalized
    before they are compared
oracle
    the cell that is best on the test set itself: more than you can get without looking
    there
p against ... | p against
    chance of such a lead if there were none, corrected for how many options were tried
pair | pairs?
    a teacher and a student of one partition; t02-s00 is teacher 2 with student 0
participant | participants?
    who owns a share of the images and a model trained on it
partition | partitions?
    one way of sharing the images out, and one draw of it
pp | pp|percentage points
    percentage points: 85 % is 5 pp more than 80 %
ProxyFL
    federated learning through proxy models (Kalra et al. 2023); some defaults are from its
    code
rank correlation
    1 if two lists have the same order, -1 if the opposite one, 0 if none in common
regret | regrets?
    what a choice gains less than the best one would have
replicate | replicates?
    the same trial with another seed
round | rounds?
    of federated learning: all participants train once and exchange what they learnt
sd | sd|standard deviations?
    standard deviation
strong, similar, much weaker | strong|similar|much weaker
    a teacher more than compare.strong_margin above its student, within it, more than it
    below
student | students?
    the participant whose model is taught
T | T|[Tt]emperatures?
    temperature: softens the answers of teacher and student; high ones show more of the
    classes that are not the best
teacher | teachers?
    the participant whose model teaches
transfer set | transfer sets?
    the images to distil on: the student's own, or a public set
tuned | tuned|tuning
    with the cell of each pair that is best on validation
validation, test | validation|test
    images kept apart: settings are chosen on validation, and what they bring is measured on
    test
vanilla
    distillation with one fixed temperature and alpha for all pairs
verdict | verdicts?
    what to do with a pair: leave the student, train it on alone, or distil, whichever is
    simplest and not measurably worse
weak, stronger | weak|stronger
    a teacher whose accuracy on validation is below, or above, that of its student
WTTM
    weighted transformed teacher matching: the teacher's probabilities are raised to a
    power, and images weighted by the result
""")
)
"""Every term, in the order of the alphabet."""

_TAG = re.compile(r"<[^>]*>")


def find_terms(page: str, more: str = "") -> list[Term]:
    """All terms that a page has.

    Args:
        page: Escaped HTML of its sections.
        more: Further text that it shows, such as the names of lines in figures.
    """
    text = html.unescape(_TAG.sub("\n", page)) + more
    # Most of a large page are numbers, again and again; no term has a comma or a line's end.
    text = "\n".join(dict.fromkeys(re.split("[,\n]", text)))
    return [term for term in TERMS if term.stands_in(text)]
