"""model.network: the four tests that every network owes, and what padding may not do."""

import numpy as np
import pytest
import safetensors.torch
import torch

from model import collate
from model.config import NetworkConfig
from model.engine_onnx import OnnxEngine
from model.engine_torch import TorchEngine
from model.network import Network, initialise, initialise_lstm
from training.export import to_onnx

# Two engines sum float32 in other orders.
AGREEMENT = 1e-5
# One engine, with other rows beside: only padding, which must not be read.
ALONE = 1e-6

CONFIGS = [
    pytest.param(
        NetworkConfig(vocabulary_size=50, embedding_size=12, hidden_size=9, bidirectional=both, classes=3), id=name
    )
    for name, both in (("bidirectional", True), ("forward", False))
]


def make(config: NetworkConfig) -> Network:
    torch.manual_seed(0)
    network = Network(config)
    initialise(network)
    torch.nn.init.normal_(network.head.bias)
    return network.eval()


def batch(*lengths: int) -> collate.Batch:
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 50, size=length) for length in lengths]
    return collate.collate(rows, range(len(rows)))


def logits(network: Network, given: collate.Batch) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(given.ids_BT), torch.from_numpy(given.lengths_B))


@pytest.mark.parametrize("config", CONFIGS)
def test_saved_and_loaded_it_gives_equal_outputs(config: NetworkConfig) -> None:
    """The safetensors bytes hold everything."""
    network = make(config)
    engine = TorchEngine(config, safetensors.torch.save(network.state_dict()), device="cpu")
    given = batch(4, 1, 7)
    assert np.array_equal(engine.scores(given), logits(network, given).numpy())


@pytest.mark.parametrize("config", CONFIGS)
def test_a_row_in_a_batch_equals_the_row_alone(config: NetworkConfig) -> None:
    """What stands at the padding can't reach an answer."""
    network, given = make(config), batch(1, 30, 2, 11)
    together = logits(network, given)
    for row, length in enumerate(given.lengths_B):
        alone = collate.Batch(given.ids_BT[row : row + 1, :length], given.lengths_B[row : row + 1], [0])
        assert torch.allclose(logits(network, alone)[0], together[row], rtol=0, atol=ALONE)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_parameter_gets_a_gradient(config: NetworkConfig) -> None:
    """Nothing in the network is out of reach of the loss."""
    network, given = make(config).train(), batch(6, 5, 9)
    network(torch.from_numpy(given.ids_BT), torch.from_numpy(given.lengths_B)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("config", CONFIGS)
def test_torch_equals_onnx(config: NetworkConfig) -> None:
    """The exported graph computes the same, for rows of any lengths."""
    network = make(config)
    weights = safetensors.torch.save(network.state_dict())
    engine = OnnxEngine(to_onnx(config, weights), weights, threads=1)
    for lengths in ((1,), (3, 3), (1, 40, 2, 17)):
        given = batch(*lengths)
        assert np.allclose(engine.scores(given), logits(network, given).numpy(), rtol=0, atol=AGREEMENT)


def test_each_direction_equals_torchs_own_packed_lstm() -> None:
    """Reversing within lengths is what PackedSequence does for the backward direction."""
    config = CONFIGS[0].values[0]
    network, given = make(config), batch(5, 2)
    packed = torch.nn.LSTM(12, 9, batch_first=True, bidirectional=True)
    own = {f"{name}{'_reverse' * d}": value for d in (0, 1) for name, value in network.lstm[d].state_dict().items()}
    packed.load_state_dict(own)
    with torch.inference_mode():
        vectors = network.embed(torch.from_numpy(given.ids_BT))
        sequence = torch.nn.utils.rnn.pack_padded_sequence(vectors, torch.from_numpy(given.lengths_B), batch_first=True)
        output, (last, _) = packed(sequence)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
        pooled = [
            torch.cat([row[:n].amax(0), row[:n].mean(0), last[:, number].flatten()])
            for number, (row, n) in enumerate(zip(states, given.lengths_B, strict=True))
        ]
        expected = network.head(torch.stack(pooled))
    assert torch.allclose(logits(network, given), expected, rtol=0, atol=AGREEMENT)


def test_the_cell_starts_out_remembering() -> None:
    """The forget gate's bias is set once, in one of torch's two biases, and recurrent matrices are orthogonal."""
    network = make(CONFIGS[0].values[0])
    initialise(network, forget_bias=2.5)
    lstm = network.lstm[0]
    total = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 9)
    assert total[1].tolist() == [2.5] * 9
    assert total[[0, 2, 3]].abs().sum() == 0
    for gate in lstm.weight_hh_l0.view(4, 9, 9):
        assert torch.allclose(gate @ gate.T, torch.eye(9), atol=1e-5)


def test_chrono_draws_time_scales_up_to_the_longest_text() -> None:
    """Forget biases are logarithms from U(1, T - 1), input biases their negatives, in one of torch's two; seeded."""
    lstm = torch.nn.LSTM(3, 400)

    def biases() -> torch.Tensor:
        torch.manual_seed(3)
        initialise_lstm(lstm, forget_bias="chrono", longest=1001)
        return lstm.bias_ih_l0.detach().clone().view(4, 400)

    first = biases()
    times = first[1].exp()
    assert (times.min() >= 1, times.max() <= 1000) == (True, True)
    assert 450 < times.mean() < 550
    assert torch.equal(first[0], -first[1])
    assert first[2:].abs().sum() == lstm.bias_hh_l0.abs().sum() == 0
    assert torch.equal(first, biases())


def test_chrono_of_the_shortest_text_is_a_gate_half_open() -> None:
    """There is no time scale between 1 and 0."""
    lstm = torch.nn.LSTM(3, 4)
    initialise_lstm(lstm, forget_bias="chrono", longest=1)
    assert lstm.bias_ih_l0.abs().sum() == 0


def test_the_default_forget_bias_is_pytorchs_own() -> None:
    """Small and random in both biases."""
    lstm = torch.nn.LSTM(3, 100)
    initialise_lstm(lstm, forget_bias="default")
    for bias in (lstm.bias_ih_l0, lstm.bias_hh_l0):
        assert 0.05 < bias.abs().max() <= 0.1
