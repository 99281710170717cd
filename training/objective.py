"""What training minimises.

B rows, T tokens, E embedding, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.network import Network
from model.tokenization import PAD, UNKNOWN
from training.config import TrainingConfig


def loss(network: Network, ids_BT: Tensor, lengths_B: Tensor, targets_B: Tensor, config: TrainingConfig) -> Tensor:
    """Mean cross-entropy of a batch; with an adversary, plus its weight times that at perturbed embeddings."""
    vectors_BTE = network.embed(drop_words(ids_BT, config.word_dropout))
    clean = _cross_entropy(network.read(vectors_BTE, lengths_B), targets_B, config)
    if not config.adversarial_weight:
        return clean
    moved_BTE = vectors_BTE + perturbation(clean, vectors_BTE, norm=config.adversarial_norm)
    adversarial = _cross_entropy(network.read(moved_BTE, lengths_B), targets_B, config)
    return clean + config.adversarial_weight * adversarial


def perturbation(clean: Tensor, vectors_BTE: Tensor, *, norm: float) -> Tensor:
    """The move of each row's embeddings, of the given length, that raises its loss fastest.

    Adversarial training of text classifiers: Miyato, Dai, Goodfellow, ICLR 2017, equation 5. The gradient is taken
    after dropout, and no gradient flows through the move. Padding has none, as nothing is read there.
    """
    (gradient_BTE,) = torch.autograd.grad(clean, vectors_BTE, retain_graph=True)
    lengths_B = gradient_BTE.flatten(1).norm(dim=1)
    scale_B: Tensor = norm / (lengths_B + 1e-12)
    return scale_B[:, None, None] * gradient_BTE


def drop_words(ids_BT: Tensor, share: float) -> Tensor:
    """Read a random share of the tokens as unknown, so that the unknown word has an embedding to be read by."""
    if not share:
        return ids_BT
    dropped_BT = (torch.rand(ids_BT.shape, device=ids_BT.device) < share) & (ids_BT != PAD)
    return ids_BT.masked_fill(dropped_BT, UNKNOWN)


def _cross_entropy(logits_BC: Tensor, targets_B: Tensor, config: TrainingConfig) -> Tensor:
    return functional.cross_entropy(logits_BC, targets_B, label_smoothing=config.label_smoothing)
