"""What training minimises, and its gradient.

B rows, T tokens, E embedding, P pooled, C classes; Q questions that a row is asked, A answers to each.
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

# How far off in a random direction a virtual adversary looks for its own, as in Miyato et al.'s code; embedded texts
# have lengths of about the square root of T times E.
FINITE_STEP = 0.1


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


def backward_unlabelled(
    network: Network, ids_BT: Tensor, lengths_B: Tensor, kind: Kind, config: TrainingConfig
) -> None:
    """Add the gradient of what is minimised on text without labels to the network's parameters.

    That is `virtual_weight` times the divergence of the answers at virtually perturbed embeddings from the clean
    ones, which are held fixed (Miyato, Dai, Goodfellow, ICLR 2017, equation 8), and `entropy_weight` times the entropy
    of the clean ones: the half of L_MIXED that needs no labels (Sachan et al. 2019). It, too, walks back in parts.
    """
    vectors_BTE = network.embed(drop_words(ids_BT, config.word_dropout))
    read = _reader(network, lengths_B, config)
    clean_BTE = vectors_BTE.detach().requires_grad_()
    with torch.set_grad_enabled(config.entropy_weight > 0):
        logits_BC = read(clean_BTE)
    gradient_BTE = torch.zeros_like(clean_BTE)
    if config.entropy_weight:
        gradient_BTE = gradient_BTE + _walk_back(config.entropy_weight * entropy(logits_BC, kind), clean_BTE)
    if config.virtual_weight:

        def moves(moved_BTE: Tensor) -> Tensor:
            return divergence(logits_BC.detach(), read(moved_BTE), kind)

        moved_BTE = virtually_perturb(clean_BTE, lengths_B, moves, norm=config.adversarial_norm)
        gradient_BTE = gradient_BTE + _walk_back(config.virtual_weight * moves(moved_BTE), moved_BTE)
    vectors_BTE.backward(gradient_BTE)  # type: ignore[no-untyped-call]  # torch's own gap


def divergence(clean_BC: Tensor, moved_BC: Tensor, kind: Kind) -> Tensor:
    """KL(clean ‖ moved) of the answers to a row, mean over rows; multi-label, the sum over labels."""
    clean_BQA, moved_BQA = log_probabilities(clean_BC, kind), log_probabilities(moved_BC, kind)
    return (clean_BQA.exp() * (clean_BQA - moved_BQA)).sum() / len(clean_BC)


def entropy(logits_BC: Tensor, kind: Kind) -> Tensor:
    """Of the answers to a row, in nats, mean over rows; multi-label, the sum over labels."""
    answers_BQA = log_probabilities(logits_BC, kind)
    return -(answers_BQA.exp() * answers_BQA).sum() / len(logits_BC)


def log_probabilities(logits_BC: Tensor, kind: Kind) -> Tensor:
    """Of each answer to each question (B, Q, A): which class it is, or, multi-label, of each label whether it is there.

    Within a question the probabilities sum to 1.
    """
    if kind == "single-label":
        return functional.log_softmax(logits_BC, dim=1)[:, None]
    return functional.logsigmoid(torch.stack([logits_BC, -logits_BC], dim=2))


def virtually_perturb(
    vectors_BTE: Tensor, lengths_B: Tensor, moves: Callable[[Tensor], Tensor], *, norm: float
) -> Tensor:
    """Each row's embeddings, moved by `norm` in the direction that changes its answers most (equation 7 there).

    `moves` says how far the answers at given embeddings are from the clean ones. Where nothing has moved its gradient
    is zero, so this takes it a small step away, at random: one power iteration with its Hessian (Miyato et al. 2019,
    section 3.3). Parameters get no gradient of it.
    """
    positions_T = torch.arange(vectors_BTE.shape[1], device=vectors_BTE.device)
    read_BT1 = (positions_T < lengths_B[:, None])[:, :, None]
    nearby_BTE = perturb(vectors_BTE, torch.randn_like(vectors_BTE) * read_BT1, norm=FINITE_STEP)
    (gradient_BTE,) = torch.autograd.grad(moves(nearby_BTE), nearby_BTE)
    return perturb(vectors_BTE, gradient_BTE, norm=norm)


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


def _reader(network: Network, lengths_B: Tensor, config: TrainingConfig) -> Callable[[Tensor], Tensor]:
    """The same, without labels, with one draw of every dropout for all passes: with one each, the answers would differ
    by that, more than by a small step. The head is in float32, as bfloat16 would round such a step away.
    """
    device = lengths_B.device
    draw = int(torch.randint(2**31, ()))

    def read(vectors_BTE: Tensor) -> Tensor:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(draw)
            with precision.autocast(device, config):
                pooled_BP = network.pool(vectors_BTE, lengths_B)
            kept_BP = functional.dropout(pooled_BP.float(), network.pooled_dropout, network.training)
        logits_BC: Tensor = network.head(kept_BP)
        return logits_BC

    return read


def _walk_back(loss: Tensor, vectors_BTE: Tensor) -> Tensor:
    """Gradient of the loss by the embeddings; by the parameters it is added to theirs."""
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
    assert vectors_BTE.grad is not None
    return vectors_BTE.grad
