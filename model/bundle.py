"""A bundle: the directory that holds a classifier. The only contract between training and serving.

`write` makes one, whole or not at all. `Bundle.open` reads one, checks every byte, and gives the classifier in it.
docs/bundle.md describes the files. Nothing in a bundle is ever unpickled.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.calibration import Calibration
from model.classifier import Classifier
from model.config import NGRAMS, WEIGHTS, ClassifierConfig
from model.engine import Device, Engine, choose
from model.errors import BundleError
from model.ngrams import Ngrams
from model.tokenization import Tokenization

# 2: a calibration may have a temperature a label, and thresholds. 3: a classifier may have an n-gram part.
FORMAT = 3
MANIFEST = "manifest.json"
CONFIG = "config.json"
GRAPH = "network.onnx"
TOKENIZER = "tokenizer.json"
CALIBRATION = "calibration.json"
PROBES = "probes.json"
REPORT = "report.json"
# What decides an answer; a bundle's version is made from these alone, of those that it has.
DECISIVE = (CONFIG, WEIGHTS, TOKENIZER, CALIBRATION, NGRAMS)
REQUIRED = (CONFIG, WEIGHTS, TOKENIZER, CALIBRATION, GRAPH, PROBES, REPORT)
# Probabilities may differ by this much between engines, machines and library versions: float32 sums in another order.
PROBE_TOLERANCE = 1e-4

LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy", "safetensors")

# A plain name: a manifest can't point outside its directory.
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Document = TypeVar("Document", bound=BaseModel)


class FileEntry(BaseModel):
    """Size in bytes and sha256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """What is in a bundle, and where it came from. `digest` is the sha256 of all its other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    name: str
    version: str
    created: str
    commit: str | None
    libraries: dict[str, str]
    files: dict[FileName, FileEntry]
    digest: str = ""


class Probe(BaseModel):
    """A text, and the probabilities that the classifier gave it when it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    probs: list[float]


class Probes(BaseModel):
    """The file `probes.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    probes: list[Probe]


class Report(BaseModel):
    """The file `report.json`, of which a server reads the metrics; the rest is for people."""

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Parts:
    """What training hands over to be written."""

    config: ClassifierConfig
    weights: bytes
    graph: bytes
    ngrams: bytes | None
    tokenizer: str
    calibration: Calibration
    probes: Probes
    report: Mapping[str, Any]
    extra: Mapping[str, bytes]  # further files, by name


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read whole, and whose every file matched its hash."""

    path: Path
    manifest: Manifest
    config: ClassifierConfig
    calibration: Calibration
    probes: Probes
    report: dict[str, Any]
    _files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The directory's name: what a request calls it."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read and check. Raises: BundleError that names the file."""
        path = path.absolute()  # not resolved: a link has a name of its own, as in current -> v7
        manifest = _read_manifest(path)
        files = {name: _read_checked(path / name, entry) for name, entry in manifest.files.items()}
        missing = [name for name in REQUIRED if name not in files]
        if missing:
            raise BundleError(f"{path / MANIFEST} doesn't list {', '.join(missing)}")
        config = _parse(path / CONFIG, ClassifierConfig, files[CONFIG])
        if config.ngrams and NGRAMS not in files:
            raise BundleError(f"{path / MANIFEST} doesn't list {NGRAMS}, which {CONFIG} speaks of")
        calibration = _parse(path / CALIBRATION, Calibration, files[CALIBRATION])
        for figures in (calibration.temperature, calibration.thresholds):
            if isinstance(figures, list) and len(figures) != len(config.labels):
                raise BundleError(f"{path / CALIBRATION} has {len(figures)} figures for {len(config.labels)} labels")
        return cls(
            path=path,
            manifest=manifest,
            config=config,
            calibration=calibration,
            probes=_parse(path / PROBES, Probes, files[PROBES]),
            report=_parse(path / REPORT, Report, files[REPORT]).model_dump(),
            _files=files,
        )

    def classifier(self, *, device: Device = "auto", threads: int = 0) -> Classifier:
        """Load into an engine and replay the probes.

        Raises: BundleError if an answer isn't the one that was recorded, DeviceError if there is no such device.
        """
        engine = choose(device, self.config.network, weights=self.weights, graph=self._files[GRAPH], threads=threads)
        return self.classifier_on(engine)

    def classifier_on(self, engine: Engine) -> Classifier:
        """The classifier on a given engine, with the probes replayed. Raises: BundleError."""
        tokenizer = _text(self.path / TOKENIZER, self._files[TOKENIZER])
        tokenization = Tokenization.from_json(tokenizer, max_tokens=self.config.max_tokens)
        if tokenization.vocabulary_size > self.config.network.vocabulary_size:
            raise BundleError(
                f"{self.path / TOKENIZER} has {tokenization.vocabulary_size:,} tokens; "
                f"the network knows {self.config.network.vocabulary_size:,}"
            )
        ngrams = None
        if self.config.ngrams:
            ngrams = Ngrams.from_bytes(self.config.ngrams, self._files[NGRAMS], classes=len(self.config.labels))
        classifier = Classifier(self.config, tokenization, engine, self.calibration, ngrams)
        self._replay(classifier)
        return classifier

    @property
    def weights(self) -> bytes:
        """The safetensors file."""
        return self._files[WEIGHTS]

    @property
    def graph(self) -> bytes:
        """The float32 ONNX file."""
        return self._files[GRAPH]

    def _replay(self, classifier: Classifier) -> None:
        for number, probe in enumerate(self.probes.probes):
            found = np.asarray(classifier.predict([probe.text])[0].probs)
            expected = np.asarray(probe.probs)
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=PROBE_TOLERANCE):
                raise BundleError(
                    f"{self.path / PROBES}: probe {number} gives {found.round(6).tolist()} "
                    f"on {classifier.engine.name}; {expected.round(6).tolist()} was recorded, "
                    f"and {PROBE_TOLERANCE} is allowed"
                )


def write(path: Path, parts: Parts, *, created: datetime, commit: str | None, overwrite: bool = False) -> Manifest:
    """Write a bundle beside `path`, in a hidden folder; load it, replay its probes, and only then rename it.

    Raises: BundleError if `path` exists and `overwrite` is false, or it can't be written; `path` is as it was.
    """
    path = path.absolute()
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists")
    files = {
        CONFIG: _document(parts.config),
        WEIGHTS: parts.weights,
        GRAPH: parts.graph,
        TOKENIZER: parts.tokenizer.encode(),
        CALIBRATION: _document(parts.calibration),
        PROBES: _document(parts.probes),
        REPORT: _json(parts.report),
        **({NGRAMS: parts.ngrams} if parts.ngrams is not None else {}),
        **parts.extra,
    }
    entries = {name: FileEntry(sha256=_sha256(data), size=len(data)) for name, data in sorted(files.items())}
    unsigned = Manifest(
        format=FORMAT,
        name=path.name,
        version=_sha256("".join(entries[name].sha256 for name in DECISIVE if name in entries).encode())[:12],
        created=created.isoformat(timespec="seconds"),
        commit=commit,
        libraries=_libraries(),
        files=entries,
    )
    manifest = unsigned.model_copy(update={"digest": _digest(unsigned)})
    try:
        _write_directory(path, {**files, MANIFEST: _document(manifest)})
    except OSError as error:
        raise BundleError(f"{path} can't be written: {error}") from error
    return manifest


def _write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:40]}.") as hidden:
        # A folder inside, as the outer one is for its maker's eyes only; and under its own name, as errors show it.
        unfinished = Path(hidden) / path.name
        unfinished.mkdir()
        for name, data in files.items():
            with (unfinished / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        Bundle.open(unfinished).classifier(device="cpu")
        replaced = Path(hidden) / "replaced"
        if path.exists():
            path.rename(replaced)
        try:
            unfinished.rename(path)
        except OSError:
            if replaced.exists():
                replaced.rename(path)
            raise


def _libraries() -> dict[str, str]:
    """Versions of what a bundle is made with, as far as it is installed under these names."""
    found = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    data = _read(file)
    try:
        number = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is no manifest: {error!r}") from error
    if isinstance(number, int) and number > FORMAT:
        raise BundleError(f"{file} has format {number}; this version of lembra reads formats up to {FORMAT}")
    manifest = _parse(file, Manifest, data)
    # Byte for byte, so that a flipped bit anywhere shows, white space included.
    if manifest.digest != _digest(manifest) or data != _document(manifest):
        raise BundleError(f"{file} doesn't match its own digest: it was changed after it was written")
    return manifest


def _read_checked(file: Path, entry: FileEntry) -> bytes:
    data = _read(file)
    if len(data) != entry.size:
        raise BundleError(f"{file} has {len(data):,} bytes; the manifest says {entry.size:,}")
    if _sha256(data) != entry.sha256:
        raise BundleError(f"{file} doesn't match its sha256 in the manifest: it is damaged, or was changed")
    return data


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{file} is missing") from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from error


def _parse(file: Path, document: type[Document], data: bytes) -> Document:
    try:
        return document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{file}: {where}: {first['msg']}") from error


def _text(file: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{file} isn't UTF-8: {error.reason} at byte {error.start}") from error


def _digest(manifest: Manifest) -> str:
    return _sha256(_document(manifest.model_copy(update={"digest": ""})))


def _document(document: BaseModel) -> bytes:
    return _json(document.model_dump(mode="json"))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
