"""The network as it is trained: its embedding table is normalised at every step, and folded into a plain one to serve.

V tokens, E embedding.
"""

import torch
from torch import Tensor

from model.config import NetworkConfig
from model.network import Network, initialise
from training.config import TrainingConfig

# Keeps a dimension that is the same for every token from being divided by zero.
EPSILON = 1e-6


class TrainedNetwork(Network):
    """A `Network` whose token vectors have mean 0 and variance 1 over the text, each as often as it occurs there.

    So they can't outgrow an adversary's move (Miyato et al. 2017, equation 1). `served_state` gives the same answers
    in a plain network.
    """

    share_V: Tensor

    def __init__(self, shape: NetworkConfig, config: TrainingConfig, frequency_V: Tensor) -> None:
        super().__init__(shape, embedding_dropout=config.embedding_dropout, pooled_dropout=config.pooled_dropout)
        self._normalise = config.normalise_embedding
        self.register_buffer("share_V", frequency_V / frequency_V.sum(), persistent=False)
        initialise(self, forget_bias=config.forget_bias)

    def table(self) -> Tensor:
        """The vector of each token (V, E), of the parameters as they are now."""
        weight_VE = self.embedding.weight
        if not self._normalise:
            return weight_VE
        share_V1 = self.share_V[:, None]
        centred_VE = weight_VE - (share_V1 * weight_VE).sum(dim=0)
        variance_E = (share_V1 * centred_VE.square()).sum(dim=0)
        return centred_VE / (variance_E + EPSILON).sqrt()

    def served_state(self) -> dict[str, Tensor]:
        """The state of a plain `Network` that gives the same answers, on the CPU."""
        with torch.no_grad():
            state = {**self.state_dict(), "embedding.weight": self.table()}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}
