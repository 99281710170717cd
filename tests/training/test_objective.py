"""training.objective: the loss and its gradient."""

import math
from typing import Literal

import pytest
import torch

from model.config import Kind, NetworkConfig
from model.network import Network, initialise
from model.tokenization import PAD, UNKNOWN
from tests.training.fakes import NEEDS_BFLOAT16
from training import objective
from training.config import TrainingConfig
from training.network import TrainedNetwork

SHAPE = NetworkConfig(vocabulary_size=9, embedding_size=6, hidden_size=5, classes=2)
IDS = torch.tensor([[3, 4, 5], [6, 7, PAD]])
LENGTHS = torch.tensor([3, 2])
TARGETS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
LOSS = objective.criterion("single-label")


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    made = Network(SHAPE)
    initialise(made)
    return made


def gradients(network: Network) -> dict[str, torch.Tensor]:
    found = {
        name: parameter.grad.clone() for name, parameter in network.named_parameters() if parameter.grad is not None
    }
    network.zero_grad()
    return found


def test_walking_back_in_parts_gives_the_whole_gradient(network: Network) -> None:
    """The gradient equals autograd's, taken at once, of clean plus adversarial loss."""
    config = TrainingConfig(precision="float32", word_dropout=0, adversarial_weight=0.7, adversarial_norm=0.5)
    objective.backward(network, IDS, LENGTHS, TARGETS, LOSS, config)
    found = gradients(network)
    vectors = network.embed(IDS)
    clean = torch.nn.functional.cross_entropy(network.read(vectors, LENGTHS), TARGETS)
    (gradient,) = torch.autograd.grad(clean, vectors, retain_graph=True)
    move = 0.5 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
    moved = torch.nn.functional.cross_entropy(network.read(vectors + move, LENGTHS), TARGETS)
    (clean + 0.7 * moved).backward()
    for name, expected in gradients(network).items():
        assert torch.allclose(found[name], expected, atol=1e-6), name


def test_the_move_has_the_given_length_and_spares_padding(network: Network) -> None:
    """Each row is moved by the whole norm, whatever its length, and only where there is text."""
    vectors = network.embed(IDS).detach().requires_grad_()
    torch.nn.functional.cross_entropy(network.read(vectors, LENGTHS), TARGETS).backward()
    move = objective.perturb(vectors, vectors.grad, norm=3.0).detach() - vectors.detach()
    assert torch.allclose(move.flatten(1).norm(dim=1), torch.tensor([3.0, 3.0]))
    assert move[1, 2].abs().sum() == 0


def test_the_move_raises_the_loss(network: Network) -> None:
    """An adversary that helped would be none."""
    vectors = network.embed(IDS).detach().requires_grad_()
    clean = torch.nn.functional.cross_entropy(network.read(vectors, LENGTHS), TARGETS)
    clean.backward()
    moved = objective.perturb(vectors, vectors.grad, norm=0.1)
    assert torch.nn.functional.cross_entropy(network.read(moved, LENGTHS), TARGETS) > clean


def test_dropped_words_become_unknown_and_padding_stays() -> None:
    """A share of the words, drawn by torch's generator."""
    torch.manual_seed(0)
    ids = torch.full((100, 100), 5)
    ids[:, 90:] = PAD
    dropped = objective.drop_words(ids, 0.3)
    assert (dropped[:, 90:] == PAD).all()
    assert 0.27 < (dropped[:, :90] == UNKNOWN).float().mean() < 0.33


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_confident_right_answers_cost_nothing_and_wrong_ones_a_lot(kind: Kind) -> None:
    """Whatever the kind: the loss is the mean over rows."""
    loss = objective.criterion(kind)
    logits = 20 * (2 * TARGETS - 1)
    assert float(loss(logits, TARGETS)) < 1e-6
    assert float(loss(-logits, TARGETS)) >= 20


def test_a_row_without_labels_is_learnt_from() -> None:
    """Multi-label: none of the labels is the truth there, so every logit is pushed down."""
    logits = torch.zeros(1, 3, requires_grad=True)
    objective.criterion("multi-label")(logits, torch.zeros(1, 3)).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_weights_make_classes_count_the_same() -> None:
    """Balanced: 90 rows of one class weigh as much as 10 of the other, and rows weigh 1 on average."""
    rows = torch.tensor([90.0, 10.0])

    def weights(how: str, kind: Kind = "single-label") -> torch.Tensor | None:
        return objective.class_weights(rows, rows=100, kind=kind, config=TrainingConfig(class_weight=how))

    assert weights("none") is None
    balanced, sqrt = weights("balanced"), weights("sqrt")
    assert balanced is not None
    assert sqrt is not None
    assert torch.allclose(balanced * rows, torch.tensor([50.0, 50.0]))
    assert float((sqrt * rows).sum()) == pytest.approx(100)
    assert float(sqrt[1] / sqrt[0]) == pytest.approx(3.0)
    present = weights("balanced", "multi-label")
    assert present is not None
    # Where a label is present in 10 of 100 rows, each of them counts for nine; a label in most rows is left as it is.
    assert torch.allclose(present, torch.tensor([1.0, 9.0]))


@pytest.mark.parametrize("taken", ["float32", pytest.param("bfloat16", marks=NEEDS_BFLOAT16)])
def test_the_precision_is_heard(network: Network, taken: Literal["float32", "bfloat16"]) -> None:
    """In bfloat16 the gradient is nearly the same, of other bits, and float32 as the parameters are."""
    config = TrainingConfig(precision=taken, word_dropout=0, adversarial_weight=0)
    objective.backward(network, IDS, LENGTHS, TARGETS, LOSS, config)
    found = gradients(network)["head.weight"]
    torch.nn.functional.cross_entropy(network(IDS, LENGTHS), TARGETS).backward()
    exact = gradients(network)["head.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, exact) == (taken == "float32")
    assert torch.allclose(found, exact, atol=0.01)


KINDS: tuple[Kind, ...] = ("single-label", "multi-label")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("virtual", "entropy"), [(0.7, 0.0), (0.0, 0.4), (0.7, 0.4)])
def test_the_half_without_labels_has_the_whole_gradient(
    network: Network, kind: Kind, virtual: float, entropy: float
) -> None:
    """It equals autograd's, taken at once, of the plain formulas, and is added to what is there."""
    config = TrainingConfig(
        precision="float32", word_dropout=0, adversarial_norm=0.5, virtual_weight=virtual, entropy_weight=entropy
    )
    network.head.bias.grad = torch.ones_like(network.head.bias)
    torch.manual_seed(1)
    objective.backward_unlabelled(network, IDS, LENGTHS, kind, config)
    found = gradients(network)
    torch.manual_seed(1)
    torch.randint(2**31, ())  # by which every dropout of a pass is drawn
    (virtual * plain_divergence(network, kind, norm=0.5) + entropy * plain_entropy(network, kind)).backward()
    expected = gradients(network)
    expected["head.bias"] += 1
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name


def distribution(logits: torch.Tensor, kind: Kind) -> torch.distributions.Distribution:
    if kind == "single-label":
        return torch.distributions.Categorical(logits=logits)
    return torch.distributions.Independent(torch.distributions.Bernoulli(logits=logits), 1)


def plain_divergence(network: Network, kind: Kind, *, norm: float) -> torch.Tensor:
    """By the paper's formulas, and torch's own KL."""

    def divergence(moved: torch.Tensor) -> torch.Tensor:
        answers = distribution(network.read(moved, LENGTHS), kind)
        return torch.distributions.kl_divergence(clean, answers).mean()

    vectors = network.embed(IDS)
    clean = distribution(network.read(vectors, LENGTHS).detach(), kind)
    direction = torch.randn_like(vectors)
    direction[1, 2] = 0
    step = (0.1 * direction / direction.flatten(1).norm(dim=1)[:, None, None]).requires_grad_()
    (gradient,) = torch.autograd.grad(divergence(vectors.detach() + step), step)
    return divergence(vectors + norm * gradient / gradient.flatten(1).norm(dim=1)[:, None, None])


def plain_entropy(network: Network, kind: Kind) -> torch.Tensor:
    found: torch.Tensor = distribution(network(IDS, LENGTHS), kind).entropy().mean()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_virtual_adversary_moves_answers_further_than_chance(network: Network, kind: Kind) -> None:
    """By several times, at the same length; padding stays, and no parameter gets a gradient of the search."""
    vectors = network.embed(IDS).detach()
    clean = network.read(vectors, LENGTHS).detach()

    def moves(moved: torch.Tensor) -> torch.Tensor:
        return objective.divergence(clean, network.read(moved, LENGTHS), kind)

    torch.manual_seed(1)
    virtual = objective.virtually_perturb(vectors, LENGTHS, moves, norm=0.5)
    random = [objective.perturb(vectors, torch.randn_like(vectors), norm=0.5) for _ in range(20)]
    with torch.no_grad():
        assert moves(virtual) > 3 * sum(moves(moved) for moved in random) / len(random)
    move = virtual.detach() - vectors
    assert torch.allclose(move.flatten(1).norm(dim=1), torch.tensor([0.5, 0.5]))
    assert move[1, 2].abs().sum() == 0
    assert gradients(network) == {}


def test_what_stands_at_the_padding_changes_nothing(network: Network) -> None:
    """The first, random step is of the same length over the words alone: its padding has none of it."""
    seen = []

    def moves(moved: torch.Tensor) -> torch.Tensor:
        seen.append(moved.detach())
        return (moved**2).sum()

    vectors = network.embed(IDS).detach()
    objective.virtually_perturb(vectors, LENGTHS, moves, norm=1.0)
    step = seen[0] - vectors
    assert torch.allclose(step.flatten(1).norm(dim=1), torch.tensor(objective.FINITE_STEP))
    assert step[1, 2].abs().sum() == 0


def test_without_a_move_nothing_is_learnt_from_it(network: Network) -> None:
    """All passes have the same dropouts, of recurrent weights too: with one each, the answers would differ so."""
    config = TrainingConfig(precision="float32", adversarial_norm=1e-6, virtual_weight=1.0, weight_drop=0.5)
    dropping = TrainedNetwork(SHAPE, config, torch.ones(SHAPE.vocabulary_size))
    dropping.load_state_dict(network.state_dict())
    network = dropping.train()
    assert network.pooled_dropout > 0
    objective.backward_unlabelled(network, IDS, LENGTHS, "single-label", config)
    assert all(float(gradient.abs().max()) < 1e-5 for gradient in gradients(network).values())


@NEEDS_BFLOAT16
def test_a_virtual_adversary_is_found_in_bfloat16(network: Network) -> None:
    """The step that it is found by is not rounded away: the gradient is nearly that of float32."""
    found = {}
    precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    for taken in precisions:
        torch.manual_seed(1)
        config = TrainingConfig(precision=taken, word_dropout=0, adversarial_norm=1.0, virtual_weight=1.0)
        objective.backward_unlabelled(network, IDS, LENGTHS, "single-label", config)
        found[taken] = gradients(network)["head.weight"].flatten()
    exact, rounded = found["float32"], found["bfloat16"]
    assert float(torch.cosine_similarity(exact, rounded, dim=0)) > 0.95
    assert not torch.equal(exact, rounded)


@pytest.mark.parametrize(("kind", "nats"), [("single-label", math.log(3)), ("multi-label", 3 * math.log(2))])
def test_entropy_and_divergence_are_in_nats(kind: Kind, nats: float) -> None:
    """Not knowing is log 3 for one of three labels, and log 2 for each of three; certainty is 0, and finite."""
    even, certain = torch.zeros(2, 3), 200 * torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])
    assert float(objective.entropy(even, kind)) == pytest.approx(nats)
    assert float(objective.entropy(certain, kind)) == pytest.approx(0)
    assert float(objective.divergence(certain, even, kind)) == pytest.approx(nats)
    assert float(objective.divergence(certain, certain, kind)) == 0
    assert math.isfinite(float(objective.divergence(certain, -certain, kind)))
