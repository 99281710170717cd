"""What training minimises, and its gradient.

B rows, T tokens, E embedding, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.network import Network
from model.tokenization import PAD, UNKNOWN
from training.config import TrainingConfig


def backward(network: Network, ids_BT: Tensor, lengths_B: Tensor, targets_B: Tensor, config: TrainingConfig) -> float:
    """Add the objective's gradient to the network's parameters; returns the mean cross-entropy of the batch.

    With an adversary the objective is that cross-entropy plus `adversarial_weight` times the one at perturbed
    embeddings (Miyato, Dai, Goodfellow, ICLR 2017). The gradient of the first points the perturbation, so the graph
    is walked back in parts: each pass of the LSTM once.
    """
    vectors_BTE = network.embed(drop_words(ids_BT, config.word_dropout))
    clean_BTE = vectors_BTE.detach().requires_grad_()
    clean = _cross_entropy(network.read(clean_BTE, lengths_B), targets_B, config)
    gradient_BTE = _walk_back(clean, clean_BTE)
    if config.adversarial_weight:
        moved_BTE = perturb(clean_BTE, gradient_BTE, norm=config.adversarial_norm)
        moved = config.adversarial_weight * _cross_entropy(network.read(moved_BTE, lengths_B), targets_B, config)
        gradient_BTE = gradient_BTE + _walk_back(moved, moved_BTE)
    vectors_BTE.backward(gradient_BTE)  # type: ignore[no-untyped-call]  # torch's own gap
    return float(clean.detach())


def perturb(vectors_BTE: Tensor, gradient_BTE: Tensor, *, norm: float) -> Tensor:
    """Each row's embeddings, moved by `norm` in the direction that raises its loss fastest (equation 5 there).

    Padding has no gradient, as nothing is read there, and so it doesn't move.
    """
    lengths_B = gradient_BTE.flatten(1).norm(dim=1)
    scale_B: Tensor = norm / (lengths_B + 1e-12)
    return (vectors_BTE.detach() + scale_B[:, None, None] * gradient_BTE).requires_grad_()


def drop_words(ids_BT: Tensor, share: float) -> Tensor:
    """Read a random share of the tokens as unknown, so that the unknown word has an embedding to be read by."""
    if not share:
        return ids_BT
    dropped_BT = (torch.rand(ids_BT.shape, device=ids_BT.device) < share) & (ids_BT != PAD)
    return ids_BT.masked_fill(dropped_BT, UNKNOWN)


def _walk_back(loss: Tensor, vectors_BTE: Tensor) -> Tensor:
    """Gradient of the loss by the embeddings; by the parameters it is added to theirs."""
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert vectors_BTE.grad is not None
    return vectors_BTE.grad


def _cross_entropy(logits_BC: Tensor, targets_B: Tensor, config: TrainingConfig) -> Tensor:
    return functional.cross_entropy(logits_BC, targets_B, label_smoothing=config.label_smoothing)
