"""model.cell: the lesson computes what `nn.LSTM` does."""

import itertools

import numpy as np
import pytest
import torch

from model.cell import Cell, read

AGREEMENT = 1e-6


def made(embedding: int, hidden: int, *, bias: float = 1.0) -> tuple[torch.nn.LSTM, Cell]:
    torch.manual_seed(embedding)
    lstm = torch.nn.LSTM(embedding, hidden)
    with torch.no_grad():
        lstm.bias_ih_l0.mul_(bias)
    return lstm, Cell.of({name: parameter.detach().numpy() for name, parameter in lstm.named_parameters()})


@pytest.mark.parametrize(
    ("embedding", "hidden", "tokens", "bias"), [(1, 1, 1, 1.0), (5, 7, 30, 1.0), (16, 64, 200, 1.0), (5, 7, 30, 500.0)]
)
def test_it_computes_what_torch_does(embedding: int, hidden: int, tokens: int, bias: float) -> None:
    """Every hidden state, and the last cell; with biases that shut and open gates for good too."""
    lstm, cell = made(embedding, hidden, bias=bias)
    vectors_TE = torch.randn(tokens, embedding)
    with torch.no_grad():
        hidden_TH, (_, last_cell) = lstm(vectors_TE)
    steps = read(cell, vectors_TE.numpy())
    assert np.allclose([step.hidden_H for step in steps], hidden_TH.numpy(), rtol=0, atol=AGREEMENT)
    assert np.allclose(steps[-1].cell_H, last_cell[0].numpy(), rtol=AGREEMENT, atol=AGREEMENT)


def test_the_gates_are_what_made_the_cell() -> None:
    """Each step's memory is what was kept of the one before, and what was written."""
    _, cell = made(5, 7)
    steps = read(cell, np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32))
    for before, after in itertools.pairwise(steps):
        kept = after.forget_H * before.cell_H + after.input_H * after.candidate_H
        assert np.array_equal(after.cell_H, kept)
        assert np.array_equal(after.hidden_H, after.output_H * np.tanh(kept))
        for gate in (after.forget_H, after.input_H, after.output_H):
            assert ((gate > 0) & (gate < 1)).all()


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell() -> None:
    """For a thousand tokens, whatever they are."""
    lstm, _ = made(5, 7)
    with torch.no_grad():
        gates = lstm.bias_ih_l0.view(4, 7)
        gates[0], gates[1] = -100.0, 100.0
    cell = Cell.of({name: parameter.detach().numpy() for name, parameter in lstm.named_parameters()})
    vectors = np.random.default_rng(1).normal(size=(1001, 5)).astype(np.float32)
    first, *_, last = read(cell, vectors)
    assert np.array_equal(first.cell_H, last.cell_H)


def test_no_token_is_no_step() -> None:
    _, cell = made(5, 7)
    assert read(cell, np.zeros((0, 5), np.float32)) == []
