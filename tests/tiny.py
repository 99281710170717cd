"""A bundle with random weights: real files and a real tokenizer, loaded in milliseconds. Its answers mean nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.numpy
import tokenizers
from tokenizers import models, pre_tokenizers

from model import bundle
from model.calibration import Calibration
from model.classifier import Classifier
from model.config import ClassifierConfig, NetworkConfig, NgramKind
from model.engine_onnx import OnnxEngine
from model.files import Manifest
from model.ngrams import CHARACTERS_PER_TOKEN, Ngrams, find
from model.tokenization import Tokenization
from training.export import to_onnx

NAME = "tiny"
LABELS = ["negative", "neutral", "positive"]
KNOWN = "a the film is was not good bad very long dull bright slow and"
WORDS = ["<pad>", "<unk>", *KNOWN.split()]
MAX_TOKENS = 12
PROBES = ["the film was good", "very dull and very long", "unheard"]
NETWORK = NetworkConfig(vocabulary_size=len(WORDS), embedding_size=6, hidden_size=5, classes=len(LABELS))
CONFIG = ClassifierConfig(kind="single-label", labels=LABELS, max_tokens=MAX_TOKENS, network=NETWORK)
CALIBRATION = Calibration(temperature=1.5, rows=40, ece_before=0.09, ece_after=0.02)
REPORT = {"metrics": {"valid": {"accuracy": 0.5, "per_class": []}}, "data": {}, "command": "none"}
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def tokenization(*, max_tokens: int = MAX_TOKENS) -> Tokenization:
    """One token a word, and an unknown one for every word that isn't in WORDS."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenization(tokenizer, max_tokens=max_tokens)


def weights(*, seed: int = 0) -> bytes:
    """The safetensors file of a network with the shape of CONFIG."""
    draw = np.random.default_rng(seed)
    tensors = {name: draw.normal(size=size).astype(np.float32) for name, size in shapes(NETWORK).items()}
    return safetensors.numpy.save({**tensors, "embedding.weight": tensors["embedding.weight"].astype(np.float16)})


def shapes(network: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Of each tensor in the file of such a network."""
    inputs, hidden, classes = network.embedding_size, network.hidden_size, network.classes
    found: dict[str, tuple[int, ...]] = {
        "embedding.weight": (network.vocabulary_size, inputs),
        "head.weight": (classes, 3 * network.directions * hidden),
        "head.bias": (classes,),
    }
    for direction in range(network.directions):
        found |= {
            f"lstm.{direction}.weight_ih_l0": (4 * hidden, inputs),
            f"lstm.{direction}.weight_hh_l0": (4 * hidden, hidden),
            f"lstm.{direction}.bias_ih_l0": (4 * hidden,),
            f"lstm.{direction}.bias_hh_l0": (4 * hidden,),
        }
    return found


def classifier(
    *,
    tensors: bytes | None = None,
    config: ClassifierConfig = CONFIG,
    calibration: Calibration = CALIBRATION,
    ngrams: Ngrams | None = None,
) -> Classifier:
    """The classifier that a bundle of `parts` holds."""
    tensors = tensors if tensors is not None else weights()
    engine = OnnxEngine(to_onnx(NETWORK, tensors), tensors, threads=1)
    return Classifier(config, tokenization(), engine, calibration, ngrams)


def ngrams() -> Ngrams:
    """One that knows the words of KNOWN, and their characters, with random weights."""
    kinds: tuple[NgramKind, ...] = ("words", "characters")
    hashes_K = np.unique(np.concatenate([found.hash_G for found in find([KNOWN], kinds, 1000).values()]))
    draw = np.random.default_rng(0)
    weights_KC = draw.normal(size=(len(hashes_K), len(LABELS))).astype(np.float32)
    idf_K, biases_C = (draw.uniform(1, 2, size).astype(np.float32) for size in (len(hashes_K), len(LABELS)))
    return Ngrams(kinds, CHARACTERS_PER_TOKEN * MAX_TOKENS, hashes_K, idf_K, weights_KC, biases_C)


@cache
def parts(*, seed: int = 0) -> bundle.Parts:
    """What training would hand over."""
    return parts_of(weights(seed=seed))


def parts_of(tensors: bytes) -> bundle.Parts:
    """The same, of other weights: a safetensors file."""
    return bundle.Parts(
        config=CONFIG,
        weights=tensors,
        graph=to_onnx(NETWORK, tensors),
        ngrams=None,
        tokenizer=tokenization().to_json(),
        calibration=CALIBRATION,
        probes=_probes(classifier(tensors=tensors)),
        report=REPORT,
        extra={},
    )


def multi_label_parts(thresholds: list[float]) -> bundle.Parts:
    """The same, but that a text may have any number of the labels."""
    config = CONFIG.model_copy(update={"kind": "multi-label"})
    calibration = Calibration(temperature=[1.0, 2.0, 0.5], thresholds=thresholds)
    whole = classifier(config=config, calibration=calibration)
    return replace(parts(), config=config, calibration=calibration, probes=_probes(whole))


def parts_with_thresholds(thresholds: list[float]) -> bundle.Parts:
    """The same, but that the one label that is told is measured by these."""
    return replace(parts(), calibration=CALIBRATION.model_copy(update={"thresholds": thresholds}))


def parts_with_ngrams() -> bundle.Parts:
    """The same, but with an n-gram part beside the network."""
    config = CONFIG.model_copy(update={"ngrams": ("words", "characters")})
    whole = classifier(config=config, ngrams=ngrams())
    return replace(parts(), config=config, ngrams=ngrams().to_bytes(), probes=_probes(whole))


def _probes(whole: Classifier) -> bundle.Probes:
    return bundle.Probes(probes=[bundle.Probe(text=text, probs=whole.predict([text])[0].probs) for text in PROBES])


def write(path: Path, *, seed: int = 0, overwrite: bool = False) -> Manifest:
    """Write the bundle to `path`."""
    return bundle.write(path, parts(seed=seed), created=CREATED, commit=None, overwrite=overwrite)
