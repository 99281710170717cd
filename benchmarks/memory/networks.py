"""The networks that are compared: of about equally many parameters, and all else the same.

B rows, T tokens, E embedding, H hidden units.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor, nn

from model.network import ForgetBias, initialise_lstm

EMBEDDING = 16
HIDDEN = 32  # of the LSTM; the others get as many units as bring them nearest to its number of parameters
# Its sigmoid is 1 to the last bit of float32, and the gradient there 0: such a gate is open, and stays so.
OPEN = 100.0
HEADS = ("last", "max")

Recurrent: TypeAlias = nn.RNN | nn.GRU | nn.LSTM


class Reader(nn.Module):
    """(ids_BT, lengths_B) -> logits_B of the second answer, from one recurrent layer that reads from left to right.

    Its head sees the last hidden state, or the highest value that each unit had: `head` is one of HEADS.
    """

    def __init__(self, recurrent: Recurrent, vocabulary_size: int, *, head: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, recurrent.input_size)
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, 1)
        self._last = head == "last"

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return self.read(self.embedding(ids_BT), lengths_B)

    def read(self, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits (B) of embedded rows."""
        states_BTH: Tensor = self.recurrent(vectors_BTE)[0]
        if self._last:
            pooled_BH = states_BTH[torch.arange(len(lengths_B)), lengths_B - 1]
        else:
            padding_BT = torch.arange(states_BTH.shape[1]) >= lengths_B[:, None]
            # A hidden state lies in (-1, 1), so -1 never wins over a real one.
            pooled_BH = states_BTH.masked_fill(padding_BT[:, :, None], -1.0).amax(dim=1)
        logits_B: Tensor = self.head(pooled_BH)[:, 0]
        return logits_B


def tanh_rnn(longest: int) -> Recurrent:
    """Elman's, with an orthogonal recurrent matrix, which is the best start for its memory (Saxe et al. 2014)."""
    del longest
    network = nn.RNN(EMBEDDING, units(1), batch_first=True)
    nn.init.orthogonal_(network.get_parameter("weight_hh_l0"))
    return network


def gru(longest: int) -> Recurrent:
    """PyTorch's, with its own starting values (Cho et al. 2014)."""
    del longest
    return nn.GRU(EMBEDDING, units(3), batch_first=True)


def lstm(forget_bias: ForgetBias, longest: int) -> Recurrent:
    """As the product's network starts."""
    network = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
    initialise_lstm(network, forget_bias=forget_bias, longest=longest)
    return network


def lstm_1997(longest: int) -> Recurrent:
    """Without a forget gate: all of the cell is kept, always. Unlike then, the gradient isn't cut short."""
    del longest
    network = nn.LSTM(EMBEDDING, units(3), batch_first=True)
    initialise_lstm(network, forget_bias=OPEN)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            network.get_parameter(name).view(4, network.hidden_size, -1)[1] = 0
    return network


def units(blocks: int) -> int:
    """How many, where each has so many blocks of weights (an LSTM has 4), come nearest to the LSTM's parameters."""

    def parameters(hidden: int, blocks: int) -> int:
        return blocks * hidden * (EMBEDDING + hidden + 2)

    return min(range(1, 8 * HIDDEN), key=lambda hidden: abs(parameters(hidden, blocks) - parameters(HIDDEN, 4)))


# By name, made for texts of `longest` tokens.
NETWORKS: Mapping[str, Callable[[int], Recurrent]] = MappingProxyType(
    {
        "tanh RNN": tanh_rnn,
        "GRU": gru,
        "LSTM, no forget gate": lstm_1997,
        "LSTM, default bias": lambda longest: lstm("default", longest),
        "LSTM, bias 1": lambda longest: lstm(1.0, longest),
        "LSTM, chrono": lambda longest: lstm("chrono", longest),
    }
)
