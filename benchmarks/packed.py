"""The network as torch's own tutorials have it: one bidirectional LSTM on a PackedSequence, and nothing padded.

The same parameters under the same names as `model.network.Network`, and the same answers: what others are measured by.
B rows, T tokens, E embedding, H hidden units a direction, D directions, P = 3·D·H pooled.
"""

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from model.bundle import Bundle
from model.calibration import Floats
from model.collate import Batch
from model.network import Network


class PackedEngine:
    """torch in float32, as `model.engine.Engine` has it: a classifier on it is checked against the bundle's probes."""

    name = "nn.LSTM on a PackedSequence"
    tolerance = 1e-4  # as torch's and onnxruntime's

    def __init__(self, bundle: Bundle) -> None:
        self._network = PackedNetwork(bundle.config.network).eval()
        self._network.load_state_dict(safetensors.torch.load(bundle.weights))

    def scores(self, batch: Batch) -> Floats:
        with torch.inference_mode():
            logits_BC: Floats = self._network(torch.from_numpy(batch.ids_BT), torch.from_numpy(batch.lengths_B)).numpy()
        return logits_BC


class PackedNetwork(Network):
    """(ids_BT, lengths_B) -> logits_BC."""

    def pool(self, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        return pool(self.lstm, vectors_BTE, lengths_B)


def pool(lstm: nn.ModuleList, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
    """What the head reads of embedded rows (B, P): maximum, mean and last of the hidden states."""
    packed = pack_padded_sequence(vectors_BTE, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
    states, last_DBH = _run(lstm, packed)
    # Padding of -1 is never the highest, and is taken off the sum again.
    states_BTX, _ = pad_packed_sequence(states, batch_first=True, padding_value=-1.0)
    padding_B = states_BTX.shape[1] - lengths_B
    mean_BX = (states_BTX.sum(dim=1) + padding_B[:, None]) / lengths_B[:, None]
    return torch.cat([states_BTX.amax(dim=1), mean_BX, *last_DBH], dim=1)


def _run(lstm: nn.ModuleList, packed: PackedSequence) -> tuple[PackedSequence, Tensor]:
    """What one nn.LSTM with both directions' parameters gives: this is what its `forward` calls."""
    first, directions = lstm[0], len(lstm)
    assert isinstance(first, nn.LSTM)
    begun = packed.data.new_zeros(directions, int(packed.batch_sizes[0]), first.hidden_size)
    data, last_DBH, _ = torch.lstm(
        packed.data,
        packed.batch_sizes,
        (begun, begun),
        [parameter for direction in lstm for parameter in direction.parameters()],
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=lstm.training,
        bidirectional=directions == 2,
    )
    states = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return states, last_DBH if packed.unsorted_indices is None else last_DBH[:, packed.unsorted_indices]
