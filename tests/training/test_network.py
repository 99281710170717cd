"""training.network: the table as it is trained, and as it is served."""

import pytest
import torch

from model.config import NetworkConfig
from model.network import Network
from training.config import TrainingConfig
from training.network import TrainedNetwork, character_ngrams

# Two ways to the same sum, in float32.
AGREEMENT = 1e-5
VOCABULARY = {
    "<pad>": 0,
    "<unk>": 1,
    **{f"thought{end}": n for n, end in enumerate(["ful", "less", "s", ""], start=2)},
    "xyz": 6,
}
SHAPE = NetworkConfig(vocabulary_size=7, embedding_size=8, hidden_size=6, classes=3)
FREQUENCY = torch.tensor([0.0, 2.0, 5.0, 1.0, 9.0, 1.0, 3.0])


def made(**settings: object) -> TrainedNetwork:
    torch.manual_seed(0)
    return TrainedNetwork(SHAPE, TrainingConfig(**settings), VOCABULARY, FREQUENCY).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("ngrams", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_network_that_serves_gives_the_same_answers(ngrams: bool, normalise: bool) -> None:
    """A plain network with the folded table."""
    trained = made(character_ngrams=ngrams, normalise_embedding=normalise)
    served = Network(SHAPE)
    served.load_state_dict(trained.served_state())
    ids, lengths = torch.tensor([[2, 3, 4], [6, 1, 0]]), torch.tensor([3, 2])
    with torch.inference_mode():
        assert torch.allclose(served.eval()(ids, lengths), trained(ids, lengths), rtol=0, atol=AGREEMENT)


def test_vectors_have_mean_0_and_variance_1_over_the_text() -> None:
    """Weighted by how often each token occurs, in every dimension."""
    table = made().table()
    share = (FREQUENCY / FREQUENCY.sum())[:, None]
    mean = (share * table).sum(dim=0)
    assert torch.allclose(mean, torch.zeros(8), atol=1e-5)
    assert torch.allclose((share * (table - mean).square()).sum(dim=0), torch.ones(8), atol=1e-3)


def test_a_word_learns_from_its_relatives() -> None:
    """The gradient of one word's vector reaches a word that shares character n-grams, and no other."""
    network = made(normalise_embedding=False)
    before = network.table().detach()
    network.table()[2].sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    moved = (network.table().detach() - before).abs().sum(dim=1) > 0
    assert moved.tolist() == [False, False, True, True, True, True, False]


def test_ngrams_are_those_of_four_words_at_least() -> None:
    """With boundary signs; padding, the unknown word and a word without relatives have none."""
    grams = character_ngrams({"<pad>": 0, "<unk>": 1, "ab": 2, "abc": 3, "abd": 4, "abe": 5, "xyz": 6})
    assert grams == [[], [], [0], [0], [0], [0], []]  # "<ab" is all that four of them share


def test_without_ngrams_there_is_nothing_to_learn_for_them() -> None:
    """No parameter that gets no gradient."""
    assert "embedding_grams" not in dict(made(character_ngrams=False).named_parameters())
