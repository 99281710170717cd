"""One network learns one task at one gap, until it can or has seen enough; and what is measured of it.

B rows, T tokens, E embedding, H hidden units.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.memory.networks import NETWORKS, Reader
from benchmarks.memory.texts import TASKS, Batch, Filler, Rng, Texts
from model import cell

BATCH = 32
RATE = 3e-3
CLIP = 1.0
CHECK_EVERY = 2048  # texts
CHECKED = 256  # texts, drawn anew at each check: they choose when to stop, and nothing else
CRITERION = 0.95  # of them right
TESTED = 1024  # texts behind the last step, of a stream that no check read
PROBED = 64  # texts that gradients are averaged over
POINTS = 40  # of what is kept, over the gap
SLACK = 64  # words that a text may have beside its gap, but for those between the two of an order


@dataclass(frozen=True, slots=True)
class Run:
    """What is learnt. `gaps`: one of them a step, drawn; a single one as a rule. Texts, not tokens, are limited."""

    task: str
    network: str
    gaps: tuple[int, ...]
    seed: int
    head: str = "last"
    most_texts: int = 50_000
    test_gaps: tuple[int, ...] = ()  # other ones than it learnt from


def learn(run: Run, filler: Filler) -> dict[str, Any]:
    """Accuracy on fresh texts, how many it took, the gradient at the cue, and how much its cells keep."""
    started = time.perf_counter()
    torch.manual_seed(run.seed)
    texts = Texts(TASKS[run.task], filler)
    to_learn, to_check, to_test, to_probe = (np.random.default_rng([run.seed, use]) for use in range(4))
    longest = max(run.gaps)
    reader = Reader(NETWORKS[run.network](longest + longest // 10 + SLACK), len(texts.vocabulary), head=run.head)
    gradients = gradient_norms(reader, texts.draw(to_probe, PROBED, gap=longest))
    seen, reached = fit(reader, texts, run, to_learn, to_check)
    return {
        **asdict(run),
        "parameters": sum(value.numel() for value in reader.recurrent.parameters()),
        "success": reached,
        "texts": seen,
        "accuracy": {gap: accuracy(reader, texts, to_test, TESTED, gap) for gap in sorted({longest, *run.test_gaps})},
        "gradient": gradients,
        "kept": kept(reader, texts.draw(to_probe, 1, gap=longest, held_out=True)),
        "seconds": time.perf_counter() - started,
    }


def fit(reader: Reader, texts: Texts, run: Run, to_learn: Rng, to_check: Rng) -> tuple[int, bool]:
    """How many texts it learnt from, and whether it came to the criterion at the longest gap."""
    optimizer = torch.optim.Adam(reader.parameters(), lr=RATE)
    for seen in range(BATCH, run.most_texts + 1, BATCH):
        loss(reader, texts.draw(to_learn, BATCH, gap=int(to_learn.choice(run.gaps)))).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(reader.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        if seen % CHECK_EVERY == 0 and accuracy(reader, texts, to_check, CHECKED, max(run.gaps)) >= CRITERION:
            return seen, True
    return run.most_texts // BATCH * BATCH, False


def loss(reader: Reader, batch: Batch) -> Tensor:
    """The mean cross-entropy, in nats."""
    logits_B = reader(torch.from_numpy(batch.ids_BT), torch.from_numpy(batch.lengths_B))
    return functional.binary_cross_entropy_with_logits(logits_B, torch.from_numpy(batch.labels_B).float())


@torch.no_grad()
def accuracy(reader: Reader, texts: Texts, rng: Rng, rows: int, gap: int) -> float:
    """The share right of so many texts, drawn anew, with filler that was never learnt from."""
    right = 0
    for _ in range(0, rows, CHECKED):
        batch = texts.draw(rng, CHECKED, gap=gap, held_out=True)
        logits_B = reader(torch.from_numpy(batch.ids_BT), torch.from_numpy(batch.lengths_B))
        right += int(((logits_B > 0).numpy() == batch.labels_B).sum())
    return right / (-(-rows // CHECKED) * CHECKED)


def gradient_norms(reader: Reader, batch: Batch) -> dict[str, float]:
    """Before the first step: the norm of the loss's gradient in a text's vector of its cue's first word, and its last
    word; means over the rows. Their ratio is what the gap leaves of the error."""
    vectors_BTE = reader.embedding(torch.from_numpy(batch.ids_BT)).detach().requires_grad_()
    lengths_B = torch.from_numpy(batch.lengths_B)
    labels_B = torch.from_numpy(batch.labels_B).float()
    functional.binary_cross_entropy_with_logits(
        reader.read(vectors_BTE, lengths_B), labels_B, reduction="sum"
    ).backward()  # type: ignore[no-untyped-call]
    reader.zero_grad()
    assert vectors_BTE.grad is not None
    norms_BT = vectors_BTE.grad.norm(dim=2)
    rows = torch.arange(len(lengths_B))
    cue, last = norms_BT[rows, torch.from_numpy(batch.cue_B)], norms_BT[rows, lengths_B - 1]
    return {"cue": float(cue.mean()), "last": float(last.mean())}


@torch.no_grad()
def kept(reader: Reader, batch: Batch) -> list[tuple[int, float]] | None:
    """Of an LSTM's unit that keeps the most over one text's whole gap: after how many words which share of its cell is
    left, which is the product of its forget gates. None of other networks."""
    if not isinstance(reader.recurrent, nn.LSTM):
        return None
    weights = cell.Weights.of({name: value.numpy() for name, value in reader.recurrent.named_parameters()})
    vectors_TE = reader.embedding(torch.from_numpy(batch.ids_BT[0])).numpy()
    steps = cell.read(weights, vectors_TE)[int(batch.gap_B[0]) :]
    kept_TH = np.cumprod([step.forget_H for step in steps], axis=0, dtype=np.float64)
    kept_T = kept_TH[:, kept_TH[-1].argmax()]
    words = np.unique(np.geomspace(1, len(steps), POINTS).astype(int))
    return [(int(after), float(kept_T[after - 1])) for after in words]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
