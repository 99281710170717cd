"""training.pretraining.encoder: written whole, read to the byte, and where a classifier starts."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from model import files
from model.bundle import Bundle
from model.config import NetworkConfig
from model.errors import BundleError
from tests.training.fakes import Silent
from tests.training.pretraining.corpus import SMALL, texts
from training import tokenizer
from training.config import TrainingConfig
from training.data import Splits
from training.network import TrainedNetwork
from training.pretraining import make
from training.pretraining.encoder import Encoder, hashes
from training.pretraining.texts import Texts
from training.reading import Examples

FILES = ["config.json", "manifest.json", "recipe.toml", "report.json", "tokenizer.json", "weights.safetensors"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    found = Texts(texts()[:50], texts()[50:], left_out=0, repeated=0)
    config = SMALL.model_copy(update={"pretrain_epochs": 1})
    return make.make(found, config, Silent(), device=torch.device("cpu")).encoder


@pytest.fixture(scope="module")
def written(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoders") / "small"
    encoder.write(path, {}, SMALL.to_toml(), created=datetime(2026, 1, 2, tzinfo=UTC), commit=None, overwrite=False)
    return path


def test_written_and_opened_it_is_the_same(encoder: Encoder, written: Path) -> None:
    """Sizes, words, tensors, and so its version."""
    found = Encoder.open(written)
    assert (found.version, found.config, found.counts) == (encoder.version, encoder.config, encoder.counts)
    assert sorted(path.name for path in written.iterdir()) == FILES
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_name(written: Path, tmp_path: Path, name: str) -> None:
    """In any file."""
    path = shutil.copytree(written, tmp_path / "small")
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(BundleError, match=name):
        Encoder.open(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 40])
def test_what_a_library_cannot_read_is_refused_by_name(
    written: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    """Though its hash is right: in one of our own errors."""
    found = {name: (written / name).read_bytes() for name in FILES if name != "manifest.json"} | {name: content}
    created, given = datetime(2026, 1, 2, tzinfo=UTC), {"number": 1, "version": "0", "commit": None}
    files.write(tmp_path / "small", found, **given, created=created, overwrite=False, check=lambda path: path)
    with pytest.raises(BundleError, match=name):
        Encoder.open(tmp_path / "small")


def test_it_knows_which_texts_it_learnt_from(encoder: Encoder) -> None:
    """Those of its train part, folded, and no others; rows of a run's train split judge nothing, and aren't counted."""
    learnt, other = texts()[:50], texts()[50:]
    rows = {"train": learnt, "validation": [learnt[0].upper(), *other], "calibration": other, "test": [*learnt, ""]}
    parts = {name: Examples(found, [("a",)] * len(found), "single-label") for name, found in rows.items()}
    assert encoder.seen(Splits(**parts, labels=["a"], dropped=0)) == {"validation": 1, "calibration": 0, "test": 50}


def test_texts_are_kept_as_hashes(encoder: Encoder) -> None:
    """The first 8 bytes of the folded text's sha256, big-endian, sorted, none twice."""
    found = hashes(["Two  words", "one", "two words"])
    digests = [hashlib.sha256(text).digest()[:8] for text in (b"one", b"two words")]
    assert found.tolist() == sorted(int.from_bytes(digest, "big", signed=True) for digest in digests)
    assert torch.equal(encoder.weights["texts"], hashes(texts()[:50]))


def test_a_bundle_is_no_encoder(tiny_bundle: Path, written: Path) -> None:
    """Nor the other way round."""
    with pytest.raises(BundleError, match="is a bundle; an encoder is"):
        Encoder.open(tiny_bundle)
    with pytest.raises(BundleError, match=r"is an encoder, .* not a bundle"):
        Bundle.open(written)


def test_its_words_are_known_at_their_first_occurrence(encoder: Encoder) -> None:
    """Words of train that the encoder knows need no least count, others do; what is left is filled with its words."""
    config = TrainingConfig(min_count=2, max_vocabulary=7)
    found = tokenizer.train(["three new", "rare new"], config, encoder.counts).get_vocab()
    assert sorted(found, key=found.__getitem__)[:4] == ["<pad>", "<unk>", "new", "three"]
    assert set(found) - {"<pad>", "<unk>", "new", "three"} < {"one", "two", "four", "five"}
    assert len(found) == 7


def test_rows_are_copied_by_word(encoder: Encoder) -> None:
    """And mean what they meant, though they are normalised again; a word that it lacks starts as it was drawn."""
    words = tokenizer.train(["three new one", "new"], TrainingConfig(), encoder.counts).get_vocab()
    shape = NetworkConfig(vocabulary_size=len(words), embedding_size=8, hidden_size=8, classes=2)
    counts = torch.tensor([float(encoder.counts.get(word, 2)) for word in sorted(words, key=words.__getitem__)])
    network = TrainedNetwork(shape, TrainingConfig(), counts)
    drawn = network.embedding.weight[words["new"]].clone()
    encoder.start(network, words)
    for word in ("one", "three", "<unk>"):
        row = encoder.weights["embedding.weight"][encoder.vocabulary[word]]
        assert torch.equal(network.embedding.weight[words[word]], row)
    assert torch.equal(network.embedding.weight[words["new"]], drawn)
    known = [word for word in words if word in encoder.vocabulary and word != "<pad>"]
    table, its = network.table(), encoder.weights["embedding.weight"]
    for word in known:
        assert torch.allclose(table[words[word]], its[encoder.vocabulary[word]], rtol=0.05, atol=0.05), word
    for direction, lstm in enumerate(network.lstm):
        for name, value in lstm.state_dict().items():
            assert torch.equal(value, encoder.weights[f"lstm.{direction}.{name}"])
