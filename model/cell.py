"""One step of an LSTM, written out: how it remembers. The lesson of docs/lstm.md; no engine computes with it.

An LSTM reads a text word by word and carries two vectors along. The *cell* is its long-term memory; the *hidden state*
is what it says of it at this word. Three gates, each a number between 0 and 1 for each unit, rule the cell:

- the forget gate says how much of the cell is kept,
- the input gate how much of a new candidate is written into it,
- the output gate how much of it is shown.

Between two words the cell is only multiplied by the forget gate and added to. Where that gate stays at 1 and the input
gate at 0, what was written stays as it was, over however many words: Hochreiter and Schmidhuber 1997, and for the
forget gate Gers, Schmidhuber and Cummins 2000. A forget gate of f keeps f to the power of n over n words.

Numpy alone, in the precision of the arrays that it is given. T words, E embedding, H units. `nn.LSTM` has the weights
of the four in one matrix, in the order input, forget, candidate, output, and two biases that it adds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one direction: what multiplies the word's vector, what multiplies the last hidden state, what is added."""

    input_4HE: Array
    hidden_4HH: Array
    bias_4H: Array

    @classmethod
    def of(cls, state: Mapping[str, Array], *, suffix: str = "_l0") -> "Weights":
        """From `nn.LSTM`'s names; the backward direction's suffix is `_l0_reverse`. Raises: KeyError."""
        bias_4H = state[f"bias_ih{suffix}"] + state[f"bias_hh{suffix}"]
        return cls(state[f"weight_ih{suffix}"], state[f"weight_hh{suffix}"], bias_4H)


@dataclass(frozen=True, slots=True)
class Step:
    """All that happens at one word, of each unit (H). Gates are in (0, 1), candidate and hidden in (-1, 1)."""

    forget_H: Array
    input_H: Array
    candidate_H: Array
    output_H: Array
    cell_H: Array
    hidden_H: Array


def step(weights: Weights, vector_E: Array, hidden_H: Array, cell_H: Array) -> Step:
    """The word's vector, and the hidden state and the cell of the word before, to those of this one."""
    heard_4H = weights.input_4HE @ vector_E + weights.hidden_4HH @ hidden_H + weights.bias_4H
    to_input_H, to_forget_H, to_candidate_H, to_output_H = np.split(heard_4H, 4)

    forget_H = sigmoid(to_forget_H)
    input_H = sigmoid(to_input_H)
    candidate_H = np.tanh(to_candidate_H)
    output_H = sigmoid(to_output_H)

    cell_H = forget_H * cell_H + input_H * candidate_H
    hidden_H = output_H * np.tanh(cell_H)
    return Step(forget_H, input_H, candidate_H, output_H, cell_H, hidden_H)


def read(weights: Weights, vectors_TE: Array) -> list[Step]:
    """A step a word, from an empty memory. The backward direction is given the words from the last to the first."""
    hidden_H = cell_H = np.zeros_like(weights.bias_4H, shape=len(weights.bias_4H) // 4)
    steps = []
    for vector_E in vectors_TE:
        steps.append(step(weights, vector_E, hidden_H, cell_H))
        hidden_H, cell_H = steps[-1].hidden_H, steps[-1].cell_H
    return steps


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), in a form that overflows nowhere."""
    halves: Array = 0.5 + 0.5 * np.tanh(0.5 * values)
    return halves
