"""A few hundred texts with a rule that a language model finds: each word says which comes next."""

import random

from training.config import TrainingConfig

NEXT = {"one": "two", "two": "three", "three": "four", "four": "five", "five": "one"}
SMALL = TrainingConfig(
    threads=1,
    min_count=1,
    embedding_size=8,
    hidden_size=8,
    precision="float32",
    pretrain_epochs=3,
    pretrain_streams=2,
    pretrain_chunk=6,
    pretrain_drawn=8,
    pretrain_rate=0.02,
)


def texts(count: int = 60) -> list[str]:
    """No two are equal: each has its number."""
    rng = random.Random(0)
    made = []
    for number in range(count):
        words = [rng.choice(list(NEXT))]
        while len(words) < 8:
            words.append(NEXT[words[-1]])
        made.append(" ".join([*words, str(number)]))
    return made
