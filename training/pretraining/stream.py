"""Texts to one stream of tokens, read in chunks by several readers at once, forwards and backwards.

B streams, L their length, T tokens of a chunk.
"""

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tokenization import PAD, Tokenization
from training.config import TrainingConfig

# Fewer streams where the text would give an epoch fewer steps than this.
LEAST_CHUNKS = 50
# Texts tokenized at a time: the library's own record of each is far larger than its ids.
SLICE = 4096

Row = npt.NDArray[np.int32]


def encode(texts: Sequence[str], tokenization: Tokenization) -> list[Row]:
    """The ids of each text."""
    rows: list[Row] = []
    for start in range(0, len(texts), SLICE):
        rows += [tokens.ids.astype(np.int32) for tokens in tokenization.encode(texts[start : start + SLICE])]
    return rows


def tokens(rows: Sequence[Row]) -> int:
    """How long the stream of these texts is: their tokens, and a separator around each."""
    return sum(map(len, rows)) + len(rows) + 1


def streams(length: int, config: TrainingConfig) -> int:
    """How many streams a text of `length` tokens is laid out in."""
    return max(1, min(config.pretrain_streams, length // (config.pretrain_chunk * LEAST_CHUNKS)))


def lay_out(rows: Sequence[Row], count: int, *, rng: random.Random | None = None) -> Tensor:
    """All texts behind one another, PAD before, between and after them, cut into `count` streams: ids_BL, int64.

    In an order drawn from `rng`, or as they come. What is left of the last stream is PAD.
    """
    order = list(range(len(rows)))
    if rng is not None:
        rng.shuffle(order)
    length = -(-tokens(rows) // count)
    ids_N = np.full(length * count, PAD, dtype=np.int64)
    at = 1
    for index in order:
        ids_N[at : at + len(rows[index])] = rows[index]
        at += len(rows[index]) + 1
    return torch.from_numpy(ids_N.reshape(count, length))


def chunks(ids_BL: Tensor, size: int) -> int:
    """How many chunks of `size` tokens it takes to read the streams: each has one more, which is only predicted."""
    return -(-(ids_BL.shape[1] - 1) // size)


def chunk(ids_BL: Tensor, index: int, size: int, *, directions: int) -> list[Tensor]:
    """The chunk of each direction, ids (B, T + 1): the first T are read, the last T predicted.

    The forward reader begins at the start of every stream, the backward one at its end, and neither skips a token.
    """
    length = ids_BL.shape[1]
    start, end = index * size, min((index + 1) * size, length - 1)
    return [ids_BL[:, start : end + 1], ids_BL[:, length - 1 - end : length - start].flip(1)][:directions]
