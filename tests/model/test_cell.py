"""model.cell: the step written out is nn.LSTM's."""

import numpy as np
import pytest
import torch
from torch import nn

from model import cell

# Of float32 sums in another order.
AGREEMENT = 1e-6
T, E, H = 30, 5, 7


def make() -> tuple[nn.LSTM, dict[str, np.ndarray], torch.Tensor]:
    torch.manual_seed(0)
    lstm = nn.LSTM(E, H, bidirectional=True, batch_first=True)
    return lstm, {name: value.detach().numpy() for name, value in lstm.named_parameters()}, torch.randn(1, T, E)


@pytest.mark.parametrize(("suffix", "turn"), [("_l0", 1), ("_l0_reverse", -1)])
def test_it_equals_nn_lstm_in_both_directions(suffix: str, turn: int) -> None:
    """Hidden states at every word, and the cell behind the last one."""
    lstm, state, vectors_1TE = make()
    with torch.no_grad():
        states_1TX, (_, last_D1H) = lstm(vectors_1TE)
    steps = cell.read(cell.Weights.of(state, suffix=suffix), vectors_1TE[0].numpy()[::turn])
    direction = int(turn < 0)
    expected_TH = states_1TX[0, :, direction * H : (direction + 1) * H].numpy()[::turn]
    np.testing.assert_allclose([step.hidden_H for step in steps], expected_TH, rtol=0, atol=AGREEMENT)
    np.testing.assert_allclose(steps[-1].cell_H, last_D1H[direction, 0].numpy(), rtol=0, atol=AGREEMENT)


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell() -> None:
    """The claim of the whole page: over a thousand words nothing is lost; half open, all is."""
    keeps = cell.Weights(np.zeros((4, 1)), np.zeros((4, 1)), np.array([-100.0, 100.0, 0.0, 0.0]))
    halves = cell.Weights(np.zeros((4, 1)), np.zeros((4, 1)), np.array([-100.0, 0.0, 0.0, 0.0]))
    kept, halved = np.array([0.7]), np.array([0.7])
    for _ in range(1000):
        kept = cell.step(keeps, np.ones(1), np.zeros(1), kept).cell_H
        halved = cell.step(halves, np.ones(1), np.zeros(1), halved).cell_H
    assert kept == pytest.approx(0.7)
    assert halved == pytest.approx(0.7 * 0.5**1000, abs=1e-300)


def test_the_sigmoid_overflows_nowhere() -> None:
    """Warnings are errors here."""
    assert cell.sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
