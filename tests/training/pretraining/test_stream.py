"""training.pretraining.stream: every token is read once, by each reader, in its direction."""

import random

import numpy as np
import pytest
import torch

from model.tokenization import PAD
from tests.training.pretraining.corpus import SMALL
from training.pretraining import stream

ROWS = [np.asarray(row, dtype=np.int32) for row in ([2, 3, 4], [5], [6, 7, 8, 9])]


def test_texts_lie_behind_one_another() -> None:
    """With a separator before, between and after them."""
    assert stream.lay_out(ROWS, 1).tolist() == [[PAD, 2, 3, 4, PAD, 5, PAD, 6, 7, 8, 9, PAD]]
    assert stream.tokens(ROWS) == 12


@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_token_is_left_out(count: int) -> None:
    """Whatever the streams and the order: what is left of the last stream is padding."""
    ids = stream.lay_out(ROWS, count, rng=random.Random(1))
    assert sorted(ids[ids != PAD].tolist()) == list(range(2, 10))


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_the_second_reader_reads_backwards(size: int) -> None:
    """Its chunks joined are the stream from its end; each begins with the last token of the one before."""
    ids = stream.lay_out(ROWS, 2)
    read: list[list[torch.Tensor]] = [[], []]
    for index in range(stream.chunks(ids, size)):
        for direction, chunk in enumerate(stream.chunk(ids, index, size, directions=2)):
            read[direction].append(chunk if index == 0 else chunk[:, 1:])
    forward, backward = (torch.cat(chunks, dim=1) for chunks in read)
    assert torch.equal(forward, ids)
    assert torch.equal(backward, ids.flip(1))


def test_short_text_has_fewer_streams() -> None:
    """So that an epoch has some dozens of steps; one stream at least."""
    config = SMALL.model_copy(update={"pretrain_streams": 128, "pretrain_chunk": 70})
    assert [stream.streams(length, config) for length in (10, 70_000, 10**9)] == [1, 20, 128]
