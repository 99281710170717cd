"""What pretraining minimises: a word is predicted from those before it, and another LSTM predicts it from those after.

Dai and Le 2015 pretrain an LSTM as a language model, Howard and Ruder 2018 one a direction; the classifier starts from
their embedding table and LSTMs. The states at the end of a chunk are where the next one begins, without a gradient
across (truncated back-propagation; Merity et al. 2018).

B streams, T tokens, N words to predict, K drawn words, V tokens of the vocabulary, E embedding, H hidden units.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network import EMBEDDING_STD, initialise_lstm
from model.tokenization import PAD, UNKNOWN
from training import precision
from training.config import TrainingConfig
from training.network import normalised, normalised_table, run_lstm

# Words are drawn by their frequency to this power (Mikolov et al. 2013): the rare ones are drawn too.
DRAWN_POWER = 0.75
# Vectors have a length of about √E, so that a product with them has a deviation of about 2 at the start.
SCALE = 2.0
# In place of a logit: the drawn word is the one that was to be predicted.
NEVER = -1e9

# (h, c) of one direction, each (1, B, H); None at the start.
State: TypeAlias = tuple[Tensor, Tensor] | None


class LanguageModel(nn.Module):
    """An LSTM a direction over one embedding table, which also is the output layer (Press and Wolf 2017).

    The table is normalised over the text as the classifier's is: see training.network.
    """

    share_V: Tensor
    drawn_share_V: Tensor

    def __init__(self, counts_V: Tensor, config: TrainingConfig) -> None:
        """`counts_V`: how often each token comes in the text; 0 for PAD."""
        super().__init__()
        size, hidden = config.embedding_size, config.hidden_size
        directions = range(2 if config.bidirectional else 1)
        self.embedding = nn.Embedding(len(counts_V), size, padding_idx=PAD)
        self.lstm = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for _ in directions)
        self.projection = nn.ModuleList(nn.Linear(hidden, size) for _ in directions)
        self.bias_V = nn.Parameter(((counts_V + 1) / (counts_V + 1).sum()).log().float())
        self._config = config
        self._scale = SCALE / size**0.5
        self.register_buffer("share_V", (counts_V / counts_V.sum()).float(), persistent=False)
        drawn_V = counts_V.double().pow(DRAWN_POWER)
        drawn_V[[PAD, UNKNOWN]] = 0
        self.register_buffer("drawn_share_V", (drawn_V / drawn_V.sum()).float(), persistent=False)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        for lstm in self.lstm:
            assert isinstance(lstm, nn.LSTM)
            initialise_lstm(lstm, forget_bias=config.forget_bias, longest=config.max_tokens)

    @property
    def device(self) -> torch.device:
        return self.bias_V.device

    def fresh(self) -> list[State]:
        """The states before the first word."""
        return [None] * len(self.lstm)

    def loss(self, chunks_D: Sequence[Tensor], states_D: Sequence[State]) -> tuple[list[Tensor], list[State]]:
        """The mean loss of each direction's chunk, ids (B, T + 1), in a sampled softmax, and its state behind it.

        K words are drawn for both directions. Each logit has the logarithm of the word's chance to be drawn taken off,
        so that the softmax over all words is what is learnt (Jean et al. 2015). The loss itself is another figure than
        that softmax's: a word is told from K others, not from V.
        """
        drawn_K = torch.multinomial(self.drawn_share_V, self._config.pretrain_drawn, replacement=True)
        # One look-up for all: the gradient of the table's mean and variance costs a pass over it each time.
        unknown_1 = torch.tensor([UNKNOWN], device=self.device)
        wanted = torch.cat([*(chunk_BT.flatten() for chunk_BT in chunks_D), drawn_K, unknown_1])
        found_XE = normalised(self.embedding.weight, self.share_V, wanted)
        sizes = [chunk_BT.numel() for chunk_BT in chunks_D]
        *vectors_D, drawn_KE, unknown_1E = torch.split(found_XE, [*sizes, len(drawn_K), 1])
        offset_V = self.bias_V - self.drawn_share_V.clamp(min=1e-12).log()
        losses, states = [], []
        for direction, (chunk_BT, state) in enumerate(zip(chunks_D, states_D, strict=True)):
            vectors_BTE = vectors_D[direction].view(*chunk_BT.shape, -1)
            inputs_BTE = self._drop_words(vectors_BTE[:, :-1], unknown_1E[0])
            target_N, kept_N = _targets(chunk_BT)
            with precision.autocast(self.device, self._config):
                predicted_NE, behind, penalty = self._predict(direction, chunk_BT, inputs_BTE, kept_N, state)
                wrong_NK = torch.addmm(offset_V[drawn_K], predicted_NE, drawn_KE.T).float()
            wrong_NK = wrong_NK.masked_fill(target_N[:, None] == drawn_K, NEVER)
            right_NE = vectors_BTE[:, 1:].flatten(0, 1)[kept_N]
            right_N = (predicted_NE.float() * right_NE).sum(dim=1) + offset_V[target_N]
            # -log softmax of the right word among itself and the drawn ones.
            told_N = functional.softplus(wrong_NK.logsumexp(dim=1) - right_N)
            losses.append(told_N.sum() / max(1, len(target_N)) + penalty)
            states.append(behind)
        return losses, states

    def exact(
        self, chunks_D: Sequence[Tensor], states_D: Sequence[State], table_VE: Tensor
    ) -> tuple[list[float], int, list[State]]:
        """The summed loss of each direction in the softmax over all words, in nats; how many words; and the states.

        `table_VE` is `table()`, made once for many chunks.
        """
        bias_V = self.bias_V.clone()
        bias_V[[PAD, UNKNOWN]] = NEVER
        sums, states, words = [], [], 0
        for direction, (chunk_BT, state) in enumerate(zip(chunks_D, states_D, strict=True)):
            target_N, kept_N = _targets(chunk_BT)
            inputs_BTE = functional.embedding(chunk_BT[:, :-1], table_VE)
            with precision.autocast(self.device, self._config):
                predicted_NE, behind, _ = self._predict(direction, chunk_BT, inputs_BTE, kept_N, state)
                logits_NV = torch.addmm(bias_V, predicted_NE, table_VE.T).float()
            sums.append(float(functional.cross_entropy(logits_NV, target_N, reduction="sum")))
            states.append(behind)
            words = words + len(target_N) if direction == 0 else words
        return sums, words, states

    def table(self) -> Tensor:
        """The vector of each token (V, E), as a classifier is given it."""
        return normalised_table(self.embedding.weight, self.share_V)

    def _predict(
        self, direction: int, chunk_BT: Tensor, inputs_BTE: Tensor, kept_N: Tensor, state: State
    ) -> tuple[Tensor, State, Tensor]:
        """The vectors (N, E) that the words to come should be like, the state behind the last word, and what the hidden
        states cost by themselves.
        """
        rate = self._config.pretrain_dropout
        weight_drop = self._config.pretrain_weight_drop if self.training else 0.0
        # A separator is read as zeros, as padding is.
        inputs_BTE = inputs_BTE * (chunk_BT[:, :-1] != PAD)[:, :, None]
        lstm = self.lstm[direction]
        assert isinstance(lstm, nn.LSTM)
        hidden_BTH, (h, c) = run_lstm(lstm, self._lock(inputs_BTE, rate), state, weight_drop=weight_drop)
        dropped_BTH = self._lock(hidden_BTH, rate)
        predicted_NE = self.projection[direction](dropped_BTH.flatten(0, 1)[kept_N]) * self._scale
        return predicted_NE, (h.detach(), c.detach()), self._penalty(hidden_BTH, dropped_BTH)

    def _penalty(self, hidden_BTH: Tensor, dropped_BTH: Tensor) -> Tensor:
        """For large states, as after dropout, and for fast ones: AR and TAR (Merity, McCann and Socher 2017)."""
        penalty = hidden_BTH.new_zeros(())
        if self._config.pretrain_activation:
            penalty = penalty + self._config.pretrain_activation * dropped_BTH.square().mean()
        if self._config.pretrain_slowness and hidden_BTH.shape[1] > 1:
            penalty = penalty + self._config.pretrain_slowness * hidden_BTH.diff(dim=1).square().mean()
        return penalty

    def _lock(self, values_BTX: Tensor, rate: float) -> Tensor:
        """Dropout that is the same at every position of a chunk (Gal and Ghahramani 2016)."""
        if not self.training or not rate:
            return values_BTX
        ones = values_BTX.new_ones(values_BTX.shape[0], 1, values_BTX.shape[2])
        return values_BTX * functional.dropout(ones, rate)

    def _drop_words(self, vectors_BTE: Tensor, unknown_E: Tensor) -> Tensor:
        """Read a random share of the words as unknown; what is to be predicted stays."""
        if not self.training or not self._config.word_dropout:
            return vectors_BTE
        dropped_BT = torch.rand(vectors_BTE.shape[:2], device=self.device) < self._config.word_dropout
        return torch.where(dropped_BT[:, :, None], unknown_E, vectors_BTE)


def _targets(chunk_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The words to predict (N,), and at which of the B * T positions: a separator or an unknown word is none."""
    next_N = chunk_BT[:, 1:].flatten()
    kept_N = ((next_N != PAD) & (next_N != UNKNOWN)).nonzero().flatten()
    return next_N[kept_N], kept_N
