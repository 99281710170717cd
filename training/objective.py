"""What training minimises, and its gradient.

B rows, T tokens, E embedding, C classes.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from model.config import Kind
from model.network import Network
from model.tokenization import PAD, UNKNOWN
from training import precision
from training.config import TrainingConfig

# (logits_BC, targets_BC) -> the batch's mean loss. Targets are 1 for the labels of a row, 0 for the others.
Criterion: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def criterion(kind: Kind, *, weights_C: Tensor | None = None, label_smoothing: float = 0.0) -> Criterion:
    """Cross-entropy, over the labels of a row or, multi-label, of each label by itself and summed.

    Weights multiply the loss of rows that have a label; multi-label, of that label where it is present.
    """
    if kind == "single-label":
        return partial(functional.cross_entropy, weight=weights_C, label_smoothing=label_smoothing)

    def binary(logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        smoothed_BC = targets_BC * (1 - label_smoothing) + label_smoothing / 2
        summed = functional.binary_cross_entropy_with_logits(
            logits_BC, smoothed_BC, pos_weight=weights_C, reduction="sum"
        )
        return summed / len(logits_BC)

    return binary


def class_weights(rows_C: Tensor, *, rows: int, kind: Kind, config: TrainingConfig) -> Tensor | None:
    """The weight of each class by how rare it is among `rows`; of mean 1 over single-label rows.

    "balanced" makes all classes count the same, "sqrt" takes the square root of that; None for "none".
    """
    if config.class_weight == "none":
        return None
    power = 0.5 if config.class_weight == "sqrt" else 1.0
    if kind == "multi-label":
        return ((rows - rows_C) / rows_C).clamp(min=1.0) ** power
    weights_C = (rows / rows_C) ** power
    return weights_C * rows / (weights_C * rows_C).sum()


def backward(
    network: Network,
    ids_BT: Tensor,
    lengths_B: Tensor,
    targets_BC: Tensor,
    loss: Criterion,
    config: TrainingConfig,
) -> float:
    """Add the objective's gradient to the network's parameters; returns the loss of the batch.

    With an adversary the objective is that loss plus `adversarial_weight` times the one at perturbed
    embeddings (Miyato, Dai, Goodfellow, ICLR 2017). The gradient of the first points the perturbation, so the graph
    is walked back in parts: each pass of the LSTM once.
    """
    vectors_BTE = network.embed(drop_words(ids_BT, config.word_dropout))
    clean_BTE = vectors_BTE.detach().requires_grad_()
    clean = loss(_read(network, clean_BTE, lengths_B, config), targets_BC)
    gradient_BTE = _walk_back(clean, clean_BTE)
    if config.adversarial_weight:
        moved_BTE = perturb(clean_BTE, gradient_BTE, norm=config.adversarial_norm)
        moved = config.adversarial_weight * loss(_read(network, moved_BTE, lengths_B, config), targets_BC)
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


def _read(network: Network, vectors_BTE: Tensor, lengths_B: Tensor, config: TrainingConfig) -> Tensor:
    """Logits (B, C), float32, computed in the precision of the settings."""
    with precision.autocast(vectors_BTE.device, config):
        return network.read(vectors_BTE, lengths_B).float()


def _walk_back(loss: Tensor, vectors_BTE: Tensor) -> Tensor:
    """Gradient of the loss by the embeddings; by the parameters it is added to theirs."""
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert vectors_BTE.grad is not None
    return vectors_BTE.grad
