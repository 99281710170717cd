"""benchmarks.memory: texts that give nothing away, networks of equal size, and the smallest run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks.memory import learning
from benchmarks.memory.__main__ import main, parse, show, to_draw
from benchmarks.memory.networks import NETWORKS, Reader
from benchmarks.memory.texts import TASKS, TELLING, Batch, FillerError, Texts, read_filler

FAIR = [name for name in TASKS if name != "latch"]


def texts(task: str) -> Texts:
    return Texts(TASKS[task], read_filler())


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_makes_the_same_texts(task: str) -> None:
    """And another one others."""
    first, again, other = (texts(task).draw(np.random.default_rng(seed), 20, gap=30) for seed in (5, 5, 6))
    assert np.array_equal(first.ids_BT, again.ids_BT)
    assert np.array_equal(first.labels_B, again.labels_B)
    assert texts(task).words(first) != texts(task).words(other)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_balanced_and_gaps_are_as_long_as_asked(task: str) -> None:
    """A gap of 50 has 50 to 55 words, and stands between the cue and the question."""
    made = texts(task)
    batch = made.draw(np.random.default_rng(0), 2000, gap=50)
    assert 0.46 < batch.labels_B.mean() < 0.54
    words = [text.split() for text in made.words(batch)]
    question = len(TASKS[task].question.split())
    gaps = batch.lengths_B - question - batch.gap_B
    assert (gaps.min(), gaps.max()) == (50, 55)
    assert batch.cue_B.min() >= 2  # what only the first of two names may lack before it would tell which it is
    assert all(
        {"anna", "bruno", "open", "shut"}.isdisjoint(row[start:-question])
        for row, start in zip(words, batch.gap_B, strict=True)
    )


def bare(made: Texts, batch: Batch) -> list[str]:
    """The texts with one word for all filler, whose own words would hide what their places tell."""
    return [
        " ".join(word if word in TELLING else "w" for word in ["^", *row.split(), "$"]) for row in made.words(batch)
    ]


@pytest.mark.parametrize(("task", "told"), [*((task, False) for task in FAIR), ("latch", True)])
def test_words_pairs_and_triples_tell_nothing_but_of_a_latch(task: str, told: bool) -> None:
    """A linear model of n-grams is at chance on fresh texts; where it can be right, this test would see it."""
    made, rng = texts(task), np.random.default_rng(1)
    train, test = made.draw(rng, 4000, gap=20), made.draw(rng, 4000, gap=20, held_out=True)
    counted = CountVectorizer(ngram_range=(1, 3), binary=True, token_pattern=r"\S+")
    model = make_pipeline(counted, LogisticRegression(C=0.1, max_iter=500))
    share = model.fit(bare(made, train), train.labels_B).score(bare(made, test), test.labels_B)
    assert share > 0.99 if told else 0.47 < share < 0.53


def test_a_filler_that_is_too_short_is_refused(tmp_path: Path) -> None:
    """With the file, how many words it has and how many it needs; and so is a gap of none."""
    (tmp_path / "short.txt").write_text("three words only")
    with pytest.raises(FillerError, match=r"short\.txt has 3 words; at least 1,000"):
        read_filler(tmp_path / "short.txt")
    with pytest.raises(FillerError, match="nowhere"):
        read_filler(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="gap is 0"):
        texts("latch").draw(np.random.default_rng(0), 1, gap=0)


def test_the_networks_are_of_equal_size() -> None:
    """Within 2 %, not counting the weights of a forget gate that is open for good."""
    sizes = {}
    for name, make in NETWORKS.items():
        recurrent = make(100)
        learning_blocks = 3 / 4 if name == "LSTM, no forget gate" else 1
        sizes[name] = learning_blocks * sum(value.numel() for value in recurrent.parameters())
    assert max(sizes.values()) < 1.02 * min(sizes.values()), sizes


def test_without_a_forget_gate_nothing_is_forgotten_even_after_learning() -> None:
    """Its gate gets no gradient, and all of every cell is left."""
    made, rng = texts("latch"), np.random.default_rng(0)
    reader = Reader(NETWORKS["LSTM, no forget gate"](40), len(made.vocabulary), head="last")
    learning.loss(reader, made.draw(rng, 8, gap=20)).backward()
    gradient = reader.recurrent.get_parameter("weight_hh_l0").grad
    assert gradient is not None
    assert gradient.view(4, reader.recurrent.hidden_size, -1)[1].abs().sum() == 0
    left = learning.kept(reader, made.draw(rng, 1, gap=20))
    assert left is not None
    assert {share for _, share in left} == {1.0}


@pytest.mark.parametrize("head", ["last", "max"])
def test_padding_changes_no_answer(head: str) -> None:
    """A row alone, and beside a longer one."""
    made = texts("binding")
    torch.manual_seed(0)
    reader = Reader(NETWORKS["LSTM, chrono"](40), len(made.vocabulary), head=head)
    batch = made.draw(np.random.default_rng(0), 16, gap=30)
    row = int(batch.lengths_B.argmin())
    length = int(batch.lengths_B[row])
    with torch.inference_mode():
        together = reader(torch.from_numpy(batch.ids_BT), torch.from_numpy(batch.lengths_B))[row]
        alone = reader(torch.from_numpy(batch.ids_BT[row : row + 1, :length]), torch.tensor([length]))[0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_smallest_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A latch over ten words is learnt, kept, drawn, and told in one JSON line."""
    command = ["--tasks", "latch", "--gaps", "10", "--networks", "LSTM, chrono", "TF-IDF, linear", "--seeds", "0"]
    command += ["--texts", "4096", "--keep", str(tmp_path / "kept"), "--figures", str(tmp_path)]
    threads = torch.get_num_threads()
    try:
        assert main(command) == 0
        first = json.loads(capsys.readouterr().out.splitlines()[-1])["memory"]
        assert main(command) == 0
        again = json.loads(capsys.readouterr().out.splitlines()[-1])["memory"]
    finally:
        torch.set_num_threads(threads)
    assert first == again
    assert [one["accuracy"]["10"] > 0.95 for one in first] == [True, True]
    assert first[0]["success"]
    assert 0 < first[0]["gradient"]["cue"] < first[0]["gradient"]["last"]
    assert {path.name for path in tmp_path.glob("*.svg")} == {"memory.svg", "forgetting.svg"}


def test_a_figure_has_the_kept_runs_of_other_gaps_too(tmp_path: Path) -> None:
    """Of the networks and seeds that are asked for, each run once, in the order of the networks."""

    def run(network: str, gap: int, seed: int = 0, **others: object) -> dict[str, object]:
        asked = {"task": "order", "network": network, "gaps": [gap], "seed": seed, "head": "last", "most_texts": 50_000}
        return asked | others

    older, newer = run("LSTM, chrono", 1000), run("LSTM, chrono", 1000, ended="2026-11-28T12:00:00+00:00")
    others = [run("GRU", 10), run("GRU", 10, seed=3), run("tanh RNN", 10), run("GRU", 50, most_texts=4_096)]
    for number, kept in enumerate([newer, older, *others]):
        (tmp_path / f"{number}.json").write_text(json.dumps(kept))
    given = parse(["--keep", str(tmp_path), "--seeds", "0", "--networks", "LSTM, chrono", "GRU"])
    drawn = to_draw([run("GRU", 10), run("GRU", 100)], given)
    assert drawn == [newer, run("GRU", 10), run("GRU", 100)]


def test_a_last_word_without_a_gradient_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """With the maximum as the head the answer may have nothing to do with it."""
    gradient = {"cue": 1e-4, "last": 0.0}
    told = {"success": True, "texts": 2_048, "accuracy": {"10": 1.0}, "gradient": gradient, "seconds": 1.0}
    show([{"task": "latch", "network": "LSTM, chrono", "gaps": [10], "seed": 0, "head": "max", **told}])
    assert "inf" in capsys.readouterr().out
