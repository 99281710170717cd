"""training.network: the table as it is trained, and as it is served."""

import pytest
import torch

from model.config import NetworkConfig
from model.network import Network
from training.config import TrainingConfig
from training.network import TrainedNetwork, run_lstm

# Two ways to the same sum, in float32.
AGREEMENT = 1e-5
# A table in float16 has 11 bits: what they may move a logit of this network by.
ROUNDING = 1e-3
SHAPE = NetworkConfig(vocabulary_size=7, embedding_size=8, hidden_size=6, classes=3)
FREQUENCY = torch.tensor([0.0, 2.0, 5.0, 1.0, 9.0, 1.0, 3.0])


def made(**settings: object) -> TrainedNetwork:
    torch.manual_seed(0)
    return TrainedNetwork(SHAPE, TrainingConfig(**settings), FREQUENCY).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("normalise", [True, False])
def test_the_network_that_serves_gives_the_same_answers(normalise: bool) -> None:
    """A plain network with the folded table, which alone is in float16."""
    trained = made(normalise_embedding=normalise)
    state = trained.served_state()
    assert {name for name, value in state.items() if value.dtype == torch.float16} == {"embedding.weight"}
    served = Network(SHAPE)
    served.load_state_dict(state)
    ids, lengths = torch.tensor([[2, 3, 4], [6, 1, 0]]), torch.tensor([3, 2])
    with torch.inference_mode():
        assert torch.allclose(served.eval()(ids, lengths), trained(ids, lengths), rtol=0, atol=ROUNDING)


def test_no_vector_is_infinite_as_it_is_served() -> None:
    """What float16 can't hold is its largest number."""
    network = made(normalise_embedding=False)
    network.embedding.weight.data[3] = -1e9
    assert network.served_state()["embedding.weight"].isfinite().all()


def test_vectors_have_mean_0_and_variance_1_over_the_text() -> None:
    """Weighted by how often each token occurs, in every dimension."""
    table = made().table()
    share = (FREQUENCY / FREQUENCY.sum())[:, None]
    mean = (share * table).sum(dim=0)
    assert torch.allclose(mean, torch.zeros(8), atol=1e-5)
    assert torch.allclose((share * (table - mean).square()).sum(dim=0), torch.ones(8), atol=1e-3)


def test_looking_up_rows_is_looking_up_in_the_table() -> None:
    """The same vectors, and the same gradient by the parameters as autograd's, through the whole table."""
    network = made()
    ids = torch.tensor([[2, 3, 3], [6, 1, 0]])
    wanted = torch.randn(2, 3, 8)
    found, expected = network.embed(ids), torch.nn.functional.embedding(ids, network.table())
    assert torch.allclose(found, expected, rtol=0, atol=AGREEMENT)
    (by_hand,) = torch.autograd.grad((found * wanted).sum(), network.embedding.weight)
    (by_autograd,) = torch.autograd.grad((expected * wanted).sum(), network.embedding.weight)
    assert torch.allclose(by_hand, by_autograd, rtol=AGREEMENT, atol=1e-4)


def test_weight_drop_acts_on_both_directions_in_training_alone() -> None:
    """Two passes differ in each direction from the second token on, and don't where nothing is dropped."""
    network, vectors = made(weight_drop=0.5), torch.randn(2, 4, 8)
    for direction in (0, 1):
        assert torch.equal(network.eval().run(direction, vectors), network.run(direction, vectors))
        plain = network.run(direction, vectors)
        network.train()
        once, again = network.run(direction, vectors), network.run(direction, vectors)
        assert torch.allclose(once[:, 0], plain[:, 0], rtol=0, atol=AGREEMENT)
        assert not torch.allclose(once[:, 1:], again[:, 1:], rtol=0, atol=AGREEMENT)


def test_an_lstm_with_weights_dropped_is_that_lstm_with_those_weights() -> None:
    """What is dropped is zero, what stays is scaled up, and states may be carried in."""
    lstm, vectors = torch.nn.LSTM(8, 6, batch_first=True), torch.randn(2, 4, 8)
    state = (torch.randn(1, 2, 6), torch.randn(1, 2, 6))
    torch.manual_seed(1)
    dropped = torch.nn.functional.dropout(lstm.weight_hh_l0, 0.5).detach()
    torch.manual_seed(1)
    found, (h, c) = run_lstm(lstm, vectors, state, weight_drop=0.5)
    lstm.weight_hh_l0.data = dropped
    expected, (expected_h, expected_c) = lstm(vectors, state)
    assert (dropped == 0).any()
    for one, other in ((found, expected), (h, expected_h), (c, expected_c)):
        assert torch.allclose(one, other, rtol=0, atol=AGREEMENT)


def test_chrono_takes_its_time_from_max_tokens() -> None:
    """No unit's time scale is longer than the longest text that is read."""
    lstm = made(forget_bias="chrono", max_tokens=11).lstm[0]
    times = lstm.bias_ih_l0.view(4, -1)[1].exp()  # type: ignore[union-attr, operator]
    assert 1 <= times.min() < times.max() <= 10
