"""The classifiers that need no download and must be beaten, fitted as the page of the real sets says.

Settings are chosen on the official valid part, or on a random tenth of train where there is none; then the rival is
fitted on all of train. Nothing is left out of train: a rival may learn test texts that stand in it, which ours may not.
"""

from benchmarks.rivals.fasttext import FASTTEXT
from benchmarks.rivals.linear import CHARACTERS, WORDS
from benchmarks.rivals.nbsvm import NBSVM
from benchmarks.rivals.tuning import Rival, measure, read, why_not

ALL: tuple[Rival, ...] = (WORDS, CHARACTERS, NBSVM, FASTTEXT)

__all__ = ["ALL", "CHARACTERS", "FASTTEXT", "NBSVM", "WORDS", "Rival", "measure", "read", "why_not"]
