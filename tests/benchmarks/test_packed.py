"""benchmarks.packed: the rivals' network is ours."""

import pytest
import safetensors.torch
import torch

from benchmarks.packed import PackedNetwork
from model.network import Network
from tests import tiny

TOLERANCE = 1e-6  # of sums in another order


@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_gives_the_answers_and_gradients_of_the_padded_one(*, bidirectional: bool) -> None:
    """Of the same parameters, whatever the order of the lengths."""
    shape = tiny.NETWORK.model_copy(update={"bidirectional": bidirectional})
    padded, packed = Network(shape), PackedNetwork(shape)
    packed.load_state_dict(padded.state_dict())
    lengths_B = torch.tensor([2, 5, 1, 4])
    ids_BT = torch.randint(1, shape.vocabulary_size, (4, 5)) * (torch.arange(5) < lengths_B[:, None])
    found = [network(ids_BT, lengths_B) for network in (padded, packed)]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=TOLERANCE)
    for logits_BC in found:
        logits_BC.square().sum().backward()
    for (name, theirs), ours in zip(packed.named_parameters(), padded.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(theirs.grad, ours.grad, rtol=0, atol=TOLERANCE, msg=name)


def test_it_loads_a_bundles_weights() -> None:
    """The names in the file are the same."""
    PackedNetwork(tiny.NETWORK).load_state_dict(safetensors.torch.load(tiny.weights()))
