"""A bundle: the directory that holds a classifier. The only contract between training and serving.

`write` makes one, whole or not at all. `Bundle.open` reads one, checks every byte, and gives the classifier in it.
docs/bundle.md describes the files. Nothing in a bundle is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from model import files
from model.calibration import Calibration
from model.classifier import Classifier
from model.config import NGRAMS, WEIGHTS, ClassifierConfig
from model.engine import Device, Engine, candidates, cores, portable
from model.errors import BundleError
from model.files import Manifest
from model.ngrams import CHARACTERS_PER_TOKEN, Ngrams
from model.tokenization import Tokenization, use_one_thread

# 2: a calibration may have a temperature a label, and thresholds. 3: a classifier may have an n-gram part. 4: one that
# gives one label may have thresholds.
FORMAT = 4
CONFIG = "config.json"
ENCODER = "encoder"  # the kind in the config of such a directory that is no bundle
GRAPH = "network.onnx"
TOKENIZER = "tokenizer.json"
CALIBRATION = "calibration.json"
PROBES = "probes.json"
REPORT = "report.json"
# What decides an answer, but for how finely it is computed; a bundle's version is made from these alone, of those that
# it has.
DECISIVE = (CONFIG, WEIGHTS, TOKENIZER, CALIBRATION, NGRAMS)
REQUIRED = (CONFIG, WEIGHTS, TOKENIZER, CALIBRATION, GRAPH, PROBES, REPORT)


class Probe(BaseModel):
    """A text, and the probabilities that the classifier gave it when it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    probs: list[float]


class Probes(BaseModel):
    """The file `probes.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    probes: list[Probe]


class EightBits(BaseModel):
    """What training found of answers in integers of 8 bits: whether they are those of float32."""

    model_config = ConfigDict(frozen=True, extra="allow")

    agree: bool


class Report(BaseModel):
    """The file `report.json`: a server reads its metrics, and whether 8 bits agree; the rest is for people."""

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: dict[str, dict[str, Any]] = {}
    eight_bits: EightBits | None = None


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
        if is_encoder(path):
            raise BundleError(f"{path} is an encoder, which `lembra train --encoder` starts from, not a bundle")
        manifest, found = files.read(path, newest=FORMAT, required=REQUIRED)
        config = files.parse(path / CONFIG, ClassifierConfig, found[CONFIG])
        if config.ngrams and NGRAMS not in found:
            raise BundleError(f"{path / files.MANIFEST} doesn't list {NGRAMS}, which {CONFIG} speaks of")
        calibration = files.parse(path / CALIBRATION, Calibration, found[CALIBRATION])
        for figures in (calibration.temperature, calibration.thresholds):
            if isinstance(figures, list) and len(figures) != len(config.labels):
                raise BundleError(f"{path / CALIBRATION} has {len(figures)} figures for {len(config.labels)} labels")
        return cls(
            path=path,
            manifest=manifest,
            config=config,
            calibration=calibration,
            probes=files.parse(path / PROBES, Probes, found[PROBES]),
            report=files.parse(path / REPORT, Report, found[REPORT]).model_dump(),
            _files=found,
        )

    def classifier(self, *, device: Device = "auto", threads: int = 0, eight_bits: bool = True) -> Classifier:
        """Load into the fastest engine on which the probes give what was recorded: one that computes in integers of 8
        bits only where `eight_bits` allows it, and the report says that it agrees. With one of `threads` the tokenizers
        of the whole process, and of those that it starts, have one from then on.

        Raises: BundleError if they do on none, DeviceError if there is no such device.
        """
        threads = threads or cores()
        if threads == 1:
            use_one_thread()
        disagrees = None
        for engine in candidates(
            device,
            self.config.network,
            weights=self.weights,
            graph=self.graph,
            threads=threads,
            eight_bits=eight_bits and self.eight_bits_agree,
        ):
            try:
                return self.classifier_on(engine)
            except BundleError as error:  # bits may be too few for extreme weights; float32 tells whether it is that
                disagrees = error
        assert disagrees is not None, "there is one candidate at least"
        raise disagrees

    def check(self) -> None:
        """Load into onnxruntime, the engine that every CPU has. Raises: BundleError."""
        self.classifier_on(portable(weights=self.weights, graph=self.graph))

    def classifier_on(self, engine: Engine) -> Classifier:
        """The classifier on a given engine, with the probes replayed. Raises: BundleError."""
        tokenizer = files.text(self.path / TOKENIZER, self._files[TOKENIZER])
        tokenization = Tokenization.from_json(tokenizer, max_tokens=self.config.max_tokens)
        if tokenization.vocabulary_size > self.config.network.vocabulary_size:
            raise BundleError(
                f"{self.path / TOKENIZER} has {tokenization.vocabulary_size:,} tokens; "
                f"the network knows {self.config.network.vocabulary_size:,}"
            )
        ngrams = None
        if self.config.ngrams:
            config = self.config
            characters = CHARACTERS_PER_TOKEN * config.max_tokens
            ngrams = Ngrams.from_bytes(config.ngrams, characters, self._files[NGRAMS], classes=len(config.labels))
        classifier = Classifier(self.config, tokenization, engine, self.calibration, ngrams)
        self._replay(classifier)
        return classifier

    @property
    def eight_bits_agree(self) -> bool:
        """Whether integers of 8 bits were shown to answer as float32 does."""
        return bool((self.report.get("eight_bits") or {}).get("agree"))

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
            if found.shape != expected.shape or not np.allclose(
                found, expected, rtol=0, atol=classifier.engine.tolerance
            ):
                raise BundleError(
                    f"{self.path / PROBES}: probe {number} gives {found.round(6).tolist()} "
                    f"on {classifier.engine.name}; {expected.round(6).tolist()} was recorded, "
                    f"and {classifier.engine.tolerance} is allowed"
                )


def is_encoder(path: Path) -> bool:
    """Whether a directory says that it is what `lembra pretrain` writes, be it damaged."""
    try:
        return bool(json.loads((path / CONFIG).read_bytes())["kind"] == ENCODER)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def write(path: Path, parts: Parts, *, created: datetime, commit: str | None, overwrite: bool = False) -> Manifest:
    """Write a bundle beside `path`, in a hidden folder; load it, replay its probes, and only then rename it.

    Raises: BundleError if `path` exists and `overwrite` is false, or it can't be written; `path` is as it was.
    """
    contents = {
        CONFIG: files.document(parts.config),
        WEIGHTS: parts.weights,
        GRAPH: parts.graph,
        TOKENIZER: parts.tokenizer.encode(),
        CALIBRATION: files.document(parts.calibration),
        PROBES: files.document(parts.probes),
        REPORT: files.to_json(parts.report),
        **({NGRAMS: parts.ngrams} if parts.ngrams is not None else {}),
        **parts.extra,
    }
    return files.write(
        path.absolute(),
        contents,
        number=FORMAT,
        version=files.version(contents, [name for name in DECISIVE if name in contents]),
        created=created,
        commit=commit,
        overwrite=overwrite,
        check=lambda unfinished: Bundle.open(unfinished).check(),
    )
