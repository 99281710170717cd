"""model.bundle: whole or refused, by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import bundle, files
from model.bundle import Bundle
from model.classifier import Classifier
from model.config import NGRAMS
from model.engine_onnx import OnnxEngine
from model.errors import BundleError
from tests import tiny

FILES = [files.MANIFEST, *bundle.REQUIRED]
# The engine is the same; a bundle keeps its float32 whole.
EQUAL = 0


def in_float32(opened: Bundle) -> Classifier:
    """On the engine that every machine has."""
    return opened.classifier_on(OnnxEngine(opened.graph, opened.weights, threads=1))


def rewrite_manifest(path: Path, **changes: Any) -> None:
    """Change a manifest as one who knows the format would, digest included."""
    file = path / files.MANIFEST
    manifest = files.Manifest.model_validate_json(file.read_bytes()).model_copy(update={**changes, "digest": ""})
    signed = manifest.model_copy(update={"digest": files.digest(manifest)})
    file.write_bytes(files.document(signed))


def exchange(path: Path, name: str, data: bytes) -> None:
    """Change a file as one who knows the format would, hash included."""
    entries = dict(Bundle.open(path).manifest.files)
    (path / name).write_bytes(data)
    entries[name] = files.FileEntry(sha256=files.sha256(data), size=len(data))
    rewrite_manifest(path, files=entries)


def test_written_and_opened_it_is_the_same_classifier(tiny_bundle: Path) -> None:
    """Config, labels, calibration, weights and tokenizer all come back: the answers are equal."""
    texts = ["the film was good", "very dull", "unheard " * 40, ""]
    found = in_float32(Bundle.open(tiny_bundle)).predict(texts)
    expected = tiny.classifier().predict(texts)
    assert np.allclose([a.probs for a in found], [a.probs for a in expected], rtol=0, atol=EQUAL)
    assert [(a.label, a.tokens, a.truncated) for a in found] == [(a.label, a.tokens, a.truncated) for a in expected]


def test_the_manifest_says_where_it_came_from(tiny_bundle: Path) -> None:
    """Name, time, libraries, and every file with its size."""
    manifest = Bundle.open(tiny_bundle).manifest
    assert (manifest.format, manifest.name, manifest.created) == (bundle.FORMAT, tiny.NAME, "2026-01-02T03:04:05+00:00")
    assert set(manifest.libraries) == set(files.LIBRARIES)
    assert {path.name for path in tiny_bundle.iterdir()} == {files.MANIFEST, *manifest.files}
    assert all((tiny_bundle / name).stat().st_size == entry.size for name, entry in manifest.files.items())


def test_the_same_parts_make_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    """Nothing in a bundle depends on the clock, the machine or the order of a dict, but what is handed over."""
    tiny.write(tmp_path / tiny.NAME)
    for path in tiny_bundle.iterdir():
        assert path.read_bytes() == (tmp_path / tiny.NAME / path.name).read_bytes(), path.name


def test_the_version_is_of_what_decides_an_answer(tiny_bundle: Path, tmp_path: Path) -> None:
    """Other weights are another version; another name or time is not."""
    version = Bundle.open(tiny_bundle).manifest.version
    assert tiny.write(tmp_path / "other-name").version == version
    assert tiny.write(tmp_path / "other-weights", seed=1).version != version


@pytest.fixture
def with_ngrams(tmp_path: Path) -> Path:
    """A bundle with an n-gram part."""
    path = tmp_path / "with-ngrams"
    bundle.write(path, tiny.parts_with_ngrams(), created=tiny.CREATED, commit=None)
    return path


def test_an_ngram_part_comes_back(with_ngrams: Path) -> None:
    """Its scores are added: the answers are those of the classifier that was written, and not the network's."""
    texts = ["the film was good", "very dull", "unheard"]
    opened = Bundle.open(with_ngrams)
    found = in_float32(opened).predict(texts)
    expected = tiny.classifier(config=opened.config, ngrams=tiny.ngrams()).predict(texts)
    assert [answer.probs for answer in found] == [answer.probs for answer in expected]
    assert [answer.probs for answer in found] != [answer.probs for answer in tiny.classifier().predict(texts)]


def test_other_ngrams_are_another_version(with_ngrams: Path, tiny_bundle: Path) -> None:
    """They decide answers as the weights do."""
    assert Bundle.open(with_ngrams).manifest.version != Bundle.open(tiny_bundle).manifest.version


def test_an_ngram_part_that_is_missing_is_refused(with_ngrams: Path) -> None:
    """Whether the file is gone, or the manifest doesn't list it."""
    entries = dict(Bundle.open(with_ngrams).manifest.files)
    (with_ngrams / NGRAMS).unlink()
    with pytest.raises(BundleError, match=f"{NGRAMS} is missing"):
        Bundle.open(with_ngrams)
    entries.pop(NGRAMS)
    rewrite_manifest(with_ngrams, files=entries)
    with pytest.raises(BundleError, match=f"doesn't list {NGRAMS}"):
        Bundle.open(with_ngrams)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_bit_is_refused(tiny_copy: Path, name: str, place: float) -> None:
    """In whatever file, wherever in it; the error names the file."""
    path = tiny_copy / name
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=name):
        Bundle.open(tiny_copy)


def test_a_manifest_without_a_bottom_is_refused(tiny_copy: Path) -> None:
    """By its name, as any other damage."""
    (tiny_copy / files.MANIFEST).write_bytes(b"[" * 200_000)
    with pytest.raises(BundleError, match=f"{files.MANIFEST} is no manifest"):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, -1])
def test_a_cut_file_is_refused(tiny_copy: Path, name: str, kept: int) -> None:
    """As a full disk or a broken download leaves it: empty, or a byte short."""
    path = tiny_copy / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BundleError, match=name):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tiny_copy: Path, name: str) -> None:
    """The error names it."""
    (tiny_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", bundle.REQUIRED)
def test_a_manifest_must_list_every_file(tiny_copy: Path, name: str) -> None:
    """A bundle without one of its parts is no bundle, even if its manifest agrees."""
    files = {key: entry for key, entry in Bundle.open(tiny_copy).manifest.files.items() if key != name}
    rewrite_manifest(tiny_copy, files=files)
    with pytest.raises(BundleError, match=f"doesn't list {name}"):
        Bundle.open(tiny_copy)


def test_a_newer_format_is_refused_with_both_numbers(tiny_copy: Path) -> None:
    """Before anything else in it is read, which may look different by then."""
    (tiny_copy / files.MANIFEST).write_text(json.dumps({"format": bundle.FORMAT + 1, "strange": True}))
    with pytest.raises(BundleError, match=rf"format {bundle.FORMAT + 1}; .* up to {bundle.FORMAT}"):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "1"}', '{"format": 1}', "\x00"])
def test_what_is_no_manifest_is_refused(tiny_copy: Path, text: str) -> None:
    """Any JSON, or none."""
    (tiny_copy / files.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", ".hidden", ""])
def test_a_manifest_can_not_point_outside(tiny_copy: Path, name: str) -> None:
    """File names in it are plain."""
    files = Bundle.open(tiny_copy).manifest.files
    rewrite_manifest(tiny_copy, files={**files, name: files[bundle.CONFIG]})
    with pytest.raises(BundleError, match=r"manifest\.json: files"):
        Bundle.open(tiny_copy)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """The error names the file that was looked for."""
    with pytest.raises(BundleError, match=r"nowhere/manifest\.json is missing"):
        Bundle.open(tmp_path / "nowhere")


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    """Not a traceback of the operating system."""
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"file/manifest\.json can't be read"):
        Bundle.open(tmp_path / "file")


def test_another_answer_to_a_probe_is_refused(tiny_copy: Path) -> None:
    """Where tokenizer, network and calibration don't belong together, or an engine computes something else."""
    probes = json.loads((tiny_copy / bundle.PROBES).read_text())
    probes["probes"][1]["probs"].reverse()
    exchange(tiny_copy, bundle.PROBES, json.dumps(probes).encode())
    with pytest.raises(BundleError, match=r"probes\.json: probe 1 "):
        Bundle.open(tiny_copy).classifier(device="cpu")


@pytest.mark.parametrize("name", [bundle.CONFIG, bundle.CALIBRATION, bundle.PROBES, bundle.REPORT])
@pytest.mark.parametrize("data", [b'{"metrics": 1, "rows": []}', b"[]", b"?", b"\xff"])
def test_documents_are_checked_for_what_they_say(tiny_copy: Path, name: str, data: bytes) -> None:
    """A hash that agrees makes no sense of nonsense; the error names the file."""
    exchange(tiny_copy, name, data)
    with pytest.raises(BundleError, match=name):
        Bundle.open(tiny_copy)


@pytest.mark.parametrize("name", [bundle.TOKENIZER, bundle.GRAPH])
@pytest.mark.parametrize("data", [b"{}", b"", b"\xff"])
def test_parts_are_checked_when_they_are_loaded(tiny_copy: Path, name: str, data: bytes) -> None:
    """What isn't read at the opening is refused at the loading, by name."""
    exchange(tiny_copy, name, data)
    with pytest.raises(BundleError, match=name):
        Bundle.open(tiny_copy).check()


def test_a_tokenizer_must_fit_the_network(tiny_copy: Path) -> None:
    """An id beyond the table would be read as whatever lies there."""
    config = tiny.CONFIG.network.model_copy(update={"vocabulary_size": tiny.NETWORK.vocabulary_size - 1})
    exchange(tiny_copy, bundle.CONFIG, files.document(tiny.CONFIG.model_copy(update={"network": config})))
    with pytest.raises(BundleError, match=r"tokenizer\.json has 16 tokens; the network knows 15"):
        in_float32(Bundle.open(tiny_copy))


def test_an_existing_path_is_not_overwritten(tiny_copy: Path) -> None:
    """Whatever is there stays as it was."""
    with pytest.raises(BundleError, match="exists"):
        tiny.write(tiny_copy, seed=1)
    assert Bundle.open(tiny_copy).manifest.version == tiny.write(tiny_copy.with_name("same")).version


def test_a_bundle_is_replaced_when_asked(tiny_copy: Path) -> None:
    """The new one is whole, of the old one no file is left, nor a folder beside."""
    (tiny_copy / "extra").touch()
    manifest = tiny.write(tiny_copy, seed=1, overwrite=True)
    assert Bundle.open(tiny_copy).manifest == manifest
    assert not (tiny_copy / "extra").exists()
    assert [path.name for path in tiny_copy.parent.iterdir()] == [tiny.NAME]


def test_no_half_bundle_is_ever_seen(tmp_path: Path) -> None:
    """While it is written it has a hidden folder, which is gone at the end; until then there is nothing of its name."""
    tiny.write(tmp_path / tiny.NAME)
    assert [path.name for path in tmp_path.iterdir()] == [tiny.NAME]


def test_a_write_that_fails_leaves_the_old_bundle(tiny_copy: Path) -> None:
    """Nothing of the new one is seen under the name before it is whole."""
    before = Bundle.open(tiny_copy).manifest
    broken = replace(tiny.parts(seed=1), extra={"x" * 300: b"a name that no file can have"})
    with pytest.raises(BundleError, match=r"can't be written: .*name too long"):
        bundle.write(tiny_copy, broken, created=tiny.CREATED, commit=None, overwrite=True)
    assert Bundle.open(tiny_copy).manifest == before
    assert [path.name for path in tiny_copy.parent.iterdir()] == [tiny.NAME]


def test_a_bundle_that_fails_its_own_probes_is_never_seen(tiny_copy: Path) -> None:
    """It is loaded and replayed before it takes the name; the one that has it stays."""
    before = Bundle.open(tiny_copy).manifest
    broken = replace(tiny.parts(seed=1), probes=tiny.parts(seed=0).probes)
    with pytest.raises(BundleError, match="probe 0"):
        bundle.write(tiny_copy, broken, created=tiny.CREATED, commit=None, overwrite=True)
    assert Bundle.open(tiny_copy).manifest == before
    assert [path.name for path in tiny_copy.parent.iterdir()] == [tiny.NAME]


@pytest.mark.parametrize("figures", [{"temperature": [1.0, 2.0]}, {"thresholds": [0.5] * 4}])
def test_a_calibration_for_another_number_of_labels_is_refused(tiny_copy: Path, figures: dict[str, Any]) -> None:
    """At load, not at the first request."""
    exchange(tiny_copy, bundle.CALIBRATION, files.to_json({"rows": 0, **figures}))
    with pytest.raises(BundleError, match=r"calibration\.json has \d figures for 3 labels"):
        Bundle.open(tiny_copy)
