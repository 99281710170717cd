"""The network: embedding, LSTM from both ends, max + mean + last pooling, linear head.

B rows, T tokens, E embedding, H hidden units a direction, D directions, P = 3·D·H pooled, C classes.

Padding is masked, never packed: `nn.LSTM` on a PackedSequence is several times slower (pytorch#149194).
Each direction is an `nn.LSTM` of its own, and the backward one reads rows that were reversed within their lengths,
so that what stands at the padding can't reach a row's answer.
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import NetworkConfig
from model.tokenization import PAD

# Of the table at the start.
EMBEDDING_STD = 0.1
# A number; or torch's own small biases; or a memory for every length up to the longest text's.
ForgetBias: TypeAlias = float | Literal["default", "chrono"]


class Network(nn.Module):
    """(ids_BT int64, lengths_B int64) -> logits_BC float32.

    The dropouts act in training mode only: on the embedded tokens, and on the pooled vector.
    """

    def __init__(self, config: NetworkConfig, *, embedding_dropout: float = 0.0, pooled_dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size, padding_idx=PAD)
        self.lstm = nn.ModuleList(
            nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True) for _ in range(config.directions)
        )
        self.head = nn.Linear(3 * config.directions * config.hidden_size, config.classes)
        self.embedding_dropout = embedding_dropout
        self.pooled_dropout = pooled_dropout

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        return self.read(self.embed(ids_BT), lengths_B)

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Token vectors (B, T, E), with dropout in training mode: what an adversary may perturb."""
        vectors_BTE = functional.embedding(ids_BT, self.table())
        return functional.dropout(vectors_BTE, self.embedding_dropout, self.training)

    def table(self) -> Tensor:
        """The vector of each token (V, E)."""
        return self.embedding.weight

    def read(self, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """Logits (B, C) of embedded rows."""
        pooled_BP = functional.dropout(self.pool(vectors_BTE, lengths_B), self.pooled_dropout, self.training)
        logits_BC: Tensor = self.head(pooled_BP)
        return logits_BC

    def pool(self, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """What the head reads of embedded rows (B, P), before its dropout."""
        positions_T = torch.arange(vectors_BTE.shape[1], device=vectors_BTE.device)
        lengths_B1 = lengths_B[:, None]
        valid_BT1 = (positions_T < lengths_B1)[:, :, None]
        forward_BTH = self.run(0, vectors_BTE)
        states = [forward_BTH]
        last = [_take(forward_BTH, lengths_B1 - 1)]
        for direction in range(1, len(self.lstm)):
            reversed_BT = (lengths_B1 - 1 - positions_T).clamp(min=0)
            backward_BTH = self.run(direction, _take(vectors_BTE, reversed_BT))
            states.append(_take(backward_BTH, reversed_BT))
            last.append(_take(backward_BTH, lengths_B1 - 1))
        states_BTH = torch.cat(states, dim=2)
        # A hidden state lies in (-1, 1), so -1 never wins over a real one.
        highest = states_BTH.masked_fill(~valid_BT1, -1.0).amax(dim=1)
        mean = states_BTH.masked_fill(~valid_BT1, 0.0).sum(dim=1) / lengths_B1
        return torch.cat([highest, mean, *(state[:, 0] for state in last)], dim=1)

    def run(self, direction: int, vectors_BTE: Tensor) -> Tensor:
        """The hidden states (B, T, H) of one direction's LSTM, which reads from left to right."""
        states_BTH: Tensor = self.lstm[direction](vectors_BTE)[0]
        return states_BTH


def _take(values_BTX: Tensor, positions_BS: Tensor) -> Tensor:
    """For each row, its vectors at the given positions: (B, S, X)."""
    return values_BTX.gather(1, positions_BS[:, :, None].expand(-1, -1, values_BTX.shape[2]))


def initialise(
    network: Network, *, forget_bias: ForgetBias = 1.0, longest: int = 1, embedding_std: float = EMBEDDING_STD
) -> None:
    """Starting values, drawn from torch's global generator; `longest` in tokens, which "chrono" alone reads."""
    nn.init.normal_(network.embedding.weight, std=embedding_std)
    with torch.no_grad():
        network.embedding.weight[PAD].zero_()
    for lstm in network.lstm:
        assert isinstance(lstm, nn.LSTM)
        initialise_lstm(lstm, forget_bias=forget_bias, longest=longest)
    nn.init.xavier_uniform_(network.head.weight)
    nn.init.zeros_(network.head.bias)


def initialise_lstm(lstm: nn.LSTM, *, forget_bias: ForgetBias, longest: int = 1) -> None:
    """Starting values of one direction; `longest` in tokens, which "chrono" alone reads.

    Recurrent matrices are orthogonal gate by gate (Saxe et al. 2014), input matrices Xavier-uniform.
    PyTorch's own zero-mean biases make the forget gate 1/2, and the cell forgets half of itself at each step;
    a bias of 1 keeps 73 % (Jozefowicz et al. 2015). PyTorch adds its two biases: one holds the value, one is zero.
    "chrono" draws a time scale for each unit from U(1, longest - 1): its forget gate starts with the logarithm, its
    input gate with the negative of that, so that it forgets in that time, and takes as long to fill (Tallec and
    Ollivier 2018, section 2). "default" draws both biases as `nn.LSTM` does, from U(-1, 1) / √H.
    """
    parameters = dict(lstm.named_parameters())
    for name in ("bias_ih_l0", "bias_hh_l0"):
        nn.init.zeros_(parameters[name])
    # PyTorch's gate order is input, forget, candidate, output.
    bias_4H = parameters["bias_ih_l0"].data.view(4, -1)
    if forget_bias == "default":
        for name in ("bias_ih_l0", "bias_hh_l0"):
            nn.init.uniform_(parameters[name], -(lstm.hidden_size**-0.5), lstm.hidden_size**-0.5)
    elif forget_bias == "chrono":
        bias_4H[1] = torch.empty(lstm.hidden_size).uniform_(1, max(longest - 1, 1)).log()
        bias_4H[0] = -bias_4H[1]
    else:
        bias_4H[1] = forget_bias
    for gate in range(4):
        nn.init.xavier_uniform_(parameters["weight_ih_l0"].data.view(4, lstm.hidden_size, -1)[gate])
        nn.init.orthogonal_(parameters["weight_hh_l0"].data.view(4, lstm.hidden_size, -1)[gate])
