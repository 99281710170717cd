"""The network as it is trained: its embedding table is made of more than one table, and folded into one to serve.

V tokens, E embedding, G character n-grams.
"""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import NetworkConfig
from model.network import Network, initialise
from model.tokenization import UNKNOWN
from training.config import TrainingConfig

# An n-gram of one word alone would only double that word's vector; four keep a third of those of two (SST-2: 13,047).
LENGTHS = (3, 4, 5)
LEAST_WORDS = 4
# Small beside the weights that are learnt: a table that starts at 1 is moved too slowly (docs/experiments.md).
TABLE_STD = 0.1
# Keeps a dimension that is the same for every token from being divided by zero.
EPSILON = 1e-6


class TrainedNetwork(Network):
    """A `Network` whose table is computed at every step; `served_state` has the same answers in a plain one.

    - A token's vector is its own plus those of its character n-grams (Bojanowski et al. 2017), so that rare words
      learn from their relatives.
    - Vectors have mean 0 and variance 1 over the text, so that they can't outgrow an adversary's move (Miyato et al.
      2017, equation 1).
    """

    share_V: Tensor
    grams: Tensor
    offsets_V: Tensor
    scale_V1: Tensor

    def __init__(
        self, shape: NetworkConfig, config: TrainingConfig, vocabulary: Mapping[str, int], frequency_V: Tensor
    ) -> None:
        super().__init__(shape, embedding_dropout=config.embedding_dropout, pooled_dropout=config.pooled_dropout)
        self._normalise = config.normalise_embedding
        grams = character_ngrams(vocabulary) if config.character_ngrams else [[]] * shape.vocabulary_size
        sizes = torch.tensor([len(found) for found in grams])
        for name, value in {
            "share_V": frequency_V / frequency_V.sum(),
            "grams": torch.tensor([gram for found in grams for gram in found], dtype=torch.int64),
            "offsets_V": sizes.cumsum(dim=0) - sizes,
            "scale_V1": sizes.clamp(min=1).sqrt()[:, None],
        }.items():
            self.register_buffer(name, value, persistent=False)
        count = int(self.grams.max()) + 1 if len(self.grams) else 0
        self.embedding_grams = nn.Parameter(torch.empty(count, shape.embedding_size)) if count else None
        initialise(self, forget_bias=config.forget_bias, embedding_std=TABLE_STD)
        if self.embedding_grams is not None:
            nn.init.normal_(self.embedding_grams, std=TABLE_STD)

    def table(self) -> Tensor:
        """The vector of each token (V, E), of the parameters as they are now."""
        table_VE = self.embedding.weight
        if self.embedding_grams is not None:
            sums_VE = functional.embedding_bag(self.grams, self.embedding_grams, self.offsets_V, mode="sum")
            table_VE = table_VE + sums_VE / self.scale_V1
        if not self._normalise:
            return table_VE
        share_V1 = self.share_V[:, None]
        centred_VE = table_VE - (share_V1 * table_VE).sum(dim=0)
        variance_E = (share_V1 * centred_VE.square()).sum(dim=0)
        return centred_VE / (variance_E + EPSILON).sqrt()

    def served_state(self) -> dict[str, Tensor]:
        """The state of a plain `Network` that gives the same answers, on the CPU."""
        with torch.no_grad():
            state = {**self.state_dict(), "embedding.weight": self.table()}
        return {name: value.detach().cpu().contiguous() for name, value in state.items() if name != "embedding_grams"}


def character_ngrams(vocabulary: Mapping[str, int]) -> list[list[int]]:
    """For each token, by its id, the numbers of its character n-grams; none for padding and the unknown word."""
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    found = [sorted(_ngrams(word)) if number > UNKNOWN else [] for number, word in enumerate(words)]
    counts = Counter(gram for grams in found for gram in grams)
    numbers = {gram: number for number, gram in enumerate(sorted(g for g, n in counts.items() if n >= LEAST_WORDS))}
    return [[numbers[gram] for gram in grams if gram in numbers] for grams in found]


def _ngrams(word: str) -> set[str]:
    """All substrings of the given lengths of the word between its boundary signs."""
    marked = f"<{word}>"
    return {marked[start : start + n] for n in LENGTHS for start in range(len(marked) - n + 1)}
