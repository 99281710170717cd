"""One step of an LSTM, written out to be read. Nothing is computed with it that has to be fast.

At each token a unit decides three times, by a gate between 0 (shut) and 1 (open): how much of its memory to keep
(forget), how much of something new to write into it (input; what is new is the candidate), and how much of it to show
(output). The memory is the cell; what is shown is the hidden state, which the gates of the next token see too.
Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber and Cummins 2000. docs/lstm.md is the lesson.

T tokens, E embedding, H units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate, or the candidate, makes of a token and of what was shown before it."""

    input_HE: Floats
    recurrent_HH: Floats
    bias_H: Floats

    def sees(self, vector_E: Floats, hidden_H: Floats) -> Floats:
        """A number for each unit; a gate is its sigmoid, the candidate its tanh."""
        return self.input_HE @ vector_E + self.recurrent_HH @ hidden_H + self.bias_H


@dataclass(frozen=True, slots=True)
class Cell:
    """The weights of one direction."""

    forget: Gate
    input: Gate
    candidate: Gate
    output: Gate

    @classmethod
    def of(cls, parts: Mapping[str, Floats]) -> "Cell":
        """From what `nn.LSTM` names weight_ih_l0, weight_hh_l0, bias_ih_l0 and bias_hh_l0, as in a bundle's weights.

        Raises: KeyError if one is missing.
        """
        biases = parts["bias_ih_l0"] + parts["bias_hh_l0"]
        fours = [np.split(part, 4) for part in (parts["weight_ih_l0"], parts["weight_hh_l0"], biases)]
        # PyTorch has them in this order, under one another.
        input_, forget, candidate, output = (Gate(*three) for three in zip(*fours, strict=True))
        return cls(forget, input_, candidate, output)


@dataclass(frozen=True, slots=True)
class Step:
    """What one token did: gates between 0 and 1, the candidate and the hidden state between -1 and 1, each (H,)."""

    forget_H: Floats
    input_H: Floats
    candidate_H: Floats
    output_H: Floats
    cell_H: Floats
    hidden_H: Floats


def step(cell: Cell, vector_E: Floats, before: Step | None) -> Step:
    """Read one token, after the step `before`; None where it is the first."""
    units = len(cell.forget.bias_H)
    remembered_H, shown_H = (before.cell_H, before.hidden_H) if before else (np.zeros(units, np.float32),) * 2

    forget_H = sigmoid(cell.forget.sees(vector_E, shown_H))
    input_H = sigmoid(cell.input.sees(vector_E, shown_H))
    candidate_H = np.tanh(cell.candidate.sees(vector_E, shown_H))
    output_H = sigmoid(cell.output.sees(vector_E, shown_H))

    # The memory's own road: a multiplication and an addition. Along it a gradient is multiplied by the forget gate
    # alone, and where that is 1 it comes back whole, from however far.
    cell_H = forget_H * remembered_H + input_H * candidate_H
    hidden_H = output_H * np.tanh(cell_H)
    return Step(forget_H, input_H, candidate_H, output_H, cell_H, hidden_H)


def read(cell: Cell, vectors_TE: Sequence[Floats] | Floats) -> list[Step]:
    """Every step of a text, from its first token to its last."""
    steps: list[Step] = []
    for vector_E in vectors_TE:
        steps.append(step(cell, vector_E, steps[-1] if steps else None))
    return steps


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + e^-x), by tanh, which never overflows."""
    return (np.tanh(values / 2) + 1) * np.float32(0.5)
