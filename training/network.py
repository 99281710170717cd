"""The network as it is trained: its embedding table is normalised at every step, and folded into a plain one to serve.

B rows, T tokens, V tokens of the vocabulary, E embedding, H hidden units a direction.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from model.config import NetworkConfig
from model.network import Network, initialise
from training.config import TrainingConfig

# Keeps a dimension that is the same for every token from being divided by zero.
EPSILON = 1e-6
# Of the table in a bundle, of which it is most of the bytes. Vectors of variance 1 lose 3 digits of 7 in it, and no
# answer its label: docs/results.md.
STORED = torch.float16


class TrainedNetwork(Network):
    """A `Network` whose token vectors have mean 0 and variance 1 over the text, each as often as it occurs there.

    So they can't outgrow an adversary's move (Miyato et al. 2017, equation 1). `served_state` gives the same answers
    in a plain network.
    """

    share_V: Tensor

    def __init__(self, shape: NetworkConfig, config: TrainingConfig, frequency_V: Tensor) -> None:
        super().__init__(shape, embedding_dropout=config.embedding_dropout, pooled_dropout=config.pooled_dropout)
        self._normalise = config.normalise_embedding
        self._weight_drop = config.weight_drop
        self.register_buffer("share_V", frequency_V / frequency_V.sum(), persistent=False)
        initialise(self, forget_bias=config.forget_bias, longest=config.max_tokens)

    def embed(self, ids_BT: Tensor) -> Tensor:
        """Token vectors (B, T, E), with dropout in training mode: rows of `table()`, without the cost of making it."""
        if not self._normalise:
            return super().embed(ids_BT)
        vectors_BTE = normalised(self.embedding.weight, self.share_V, ids_BT)
        return functional.dropout(vectors_BTE, self.embedding_dropout, self.training)

    def run(self, direction: int, vectors_BTE: Tensor) -> Tensor:
        """The hidden states (B, T, H) of one direction, with weight drop in training mode."""
        lstm = self.lstm[direction]
        assert isinstance(lstm, nn.LSTM)
        return run_lstm(lstm, vectors_BTE, None, weight_drop=self._weight_drop if self.training else 0.0)[0]

    def table(self) -> Tensor:
        """The vector of each token (V, E), of the parameters as they are now."""
        weight_VE = self.embedding.weight
        if not self._normalise:
            return weight_VE
        return normalised_table(weight_VE, self.share_V)

    def served_state(self, *, factor: float = 1.0) -> dict[str, Tensor]:
        """The state of a plain `Network` whose logits are `factor` times these, on the CPU; the table in float16."""
        largest = torch.finfo(STORED).max
        with torch.no_grad():
            head = {f"head.{name}": factor * value for name, value in self.head.state_dict().items()}
            table_VE = self.table().clamp(-largest, largest).to(STORED)
            state = {**self.state_dict(), "embedding.weight": table_VE, **head}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def run_lstm(
    lstm: nn.LSTM, vectors_BTE: Tensor, state: tuple[Tensor, Tensor] | None, *, weight_drop: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What `lstm` gives, with a share of its recurrent weights zero: the same ones at every step (Merity et al. 2018).

    Hidden states (B, T, H), and (h, c) behind the last one, each (1, B, H).
    """
    if not weight_drop:
        found: tuple[Tensor, tuple[Tensor, Tensor]] = lstm(vectors_BTE, state)
        return found
    weights: dict[str, Tensor] = dict(lstm.named_parameters())
    weights["weight_hh_l0"] = functional.dropout(weights["weight_hh_l0"], weight_drop)
    begun = state or (vectors_BTE.new_zeros(1, len(vectors_BTE), lstm.hidden_size),) * 2
    states_BTH, h, c = torch.lstm(
        vectors_BTE,
        begun,
        [weights[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=True,
        bidirectional=False,
        batch_first=True,
    )
    return states_BTH, (h, c)


def normalised_table(weight_VE: Tensor, share_V: Tensor) -> Tensor:
    """The table with mean 0 and variance 1 over the text, whose tokens come in these shares."""
    share_V1 = share_V[:, None]
    centred_VE = weight_VE - (share_V1 * weight_VE).sum(dim=0)
    variance_E = (share_V1 * centred_VE.square()).sum(dim=0)
    return centred_VE / (variance_E + EPSILON).sqrt()


def normalised(weight_VE: Tensor, share_V: Tensor, ids_BT: Tensor) -> Tensor:
    """Rows (B, T, E) of that table, without the cost of making it. Ids may have any number of axes."""
    vectors_BTE: Tensor = _Normalised.apply(weight_VE, share_V, ids_BT)  # type: ignore[no-untyped-call]
    return vectors_BTE


class _Normalised(torch.autograd.Function):
    """The rows of a table with mean 0 and variance 1 over the text: batch normalisation with a weight for each row.

    Autograd would keep and walk a dozen V x E tensors, a quarter of the time of a step; by hand it is four.
    """

    @staticmethod
    def forward(ctx: Any, weight_VE: Tensor, share_V: Tensor, ids_BT: Tensor) -> Tensor:
        mean_E = share_V @ weight_VE
        variance_E = (share_V @ weight_VE.square() - mean_E.square()).clamp(min=0)
        deviation_E = (variance_E + EPSILON).sqrt()
        vectors_NE = (weight_VE[ids_BT.flatten()] - mean_E) / deviation_E
        ctx.save_for_backward(weight_VE, share_V, ids_BT, mean_E, deviation_E, vectors_NE)
        return vectors_NE.view(*ids_BT.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTE: Tensor) -> tuple[Tensor, None, None]:
        """Ioffe and Szegedy 2015, section 3: the looked-up rows' own part, less what moves the mean and variance."""
        weight_VE, share_V, ids_BT, mean_E, deviation_E, vectors_NE = ctx.saved_tensors
        gradient_NE = gradient_BTE.flatten(0, -2) / deviation_E
        by_mean_E = gradient_NE.sum(dim=0)
        by_deviation_E = (gradient_NE * vectors_NE).sum(dim=0) / deviation_E
        gradient_VE = torch.outer(share_V, mean_E * by_deviation_E - by_mean_E)
        gradient_VE.addcmul_(share_V[:, None] * weight_VE, by_deviation_E, value=-1)
        return gradient_VE.index_add_(0, ids_BT.flatten(), gradient_NE), None, None
