"""Splits to a classifier: tokenizer, network, fit, export, calibration, in reading order."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch

from model.calibration import Calibration, Flags, Floats, probabilities
from model.classifier import Classifier
from model.collate import Row
from model.config import ClassifierConfig, NetworkConfig
from model.engine_onnx import OnnxEngine
from model.errors import DeviceError
from model.ngrams import Ngrams
from model.tokenization import Tokenization
from training import calibrate, data, evaluate, export, loop, mixture, tokenizer
from training.config import TrainingConfig
from training.data import Splits
from training.loop import Encoded, Fitted, Keeper, Progress
from training.mixture import Mixture
from training.network import TrainedNetwork
from training.pretraining import stream
from training.pretraining.encoder import Encoder
from training.reading import Examples
from training.rival import Rival
from training.teacher import Lessons

# Settings that no weight of a training depends on: a run that was cut off may go on with others. Whether there are
# trainings after the first one, which `refit_below` and `folds_below` say, is nothing to any of them.
BESIDE_THE_WEIGHTS = {
    "logit_adjustment",
    "ngrams",
    "rival",
    "find_label_errors",
    "keep_texts",
    "refit_below",
    "folds_below",
}


@dataclass(frozen=True)
class Setup:
    """Where a training runs, what it starts from, and what it learns from beside its labelled rows.

    Where there is an `encoder`, the network starts from it, and the settings are what `encoder.settings` gave.
    `unlabelled` are the texts, train's own among them, that the network learns from without labels: its words are then
    theirs. `lessons` are what it learns beside labels.
    """

    device: torch.device
    encoder: Encoder | None = None
    unlabelled: Sequence[str] = ()
    lessons: Lessons | None = None


@dataclass(frozen=True)
class Start:
    """A network with its starting values, the text that it is to learn from, and how that is read."""

    network: TrainedNetwork
    train: Encoded
    unlabelled: Sequence[Row]
    tokenization: Tokenization
    shape: ClassifierConfig


@dataclass(frozen=True)
class Built:
    """A classifier, with what its bundle needs beside it."""

    classifier: Classifier
    tokenizer: str
    weights: bytes
    graph: bytes
    ngrams: Ngrams | None
    mixture: Mixture | None  # how much its n-grams say
    fitted: Fitted
    stopped: bool  # by hand, before its end


def build(
    splits: Splits,
    config: TrainingConfig,
    progress: Progress,
    setup: Setup,
    *,
    partner: Rival | None = None,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
    keep_best: Callable[[], bool] = lambda: False,
) -> Built:
    """Train on `splits.train`; goes on from what `keeper` kept.

    The scores of `partner` are added to the network's where they help.

    Raises: loop.Interrupted when `stopped` turned true, unless `keep_best` then says to build from the best so far.
    """
    begun = start(splits, config, setup)
    validation = encode(splits.validation, begun.tokenization, splits.labels)
    stopped_early = False
    try:
        fitted = loop.fit(
            begun.network,
            begun.train,
            validation,
            config,
            progress,
            pretrained=setup.encoder is not None,
            unlabelled=begun.unlabelled,
            keeper=keeper,
            stopped=stopped,
        )
    except loop.Interrupted as stop:
        if not stop.fitted.weights or not keep_best():
            raise
        fitted, stopped_early = stop.fitted, True
    begun.network.load_state_dict(fitted.weights)
    mixed = _mix(begun.network, validation, partner, splits.validation.texts) if partner is not None else None
    uncalibrated = assemble(begun, config, fitted, partner, mixed, Calibration(), stopped=stopped_early)
    return _calibrated(uncalibrated, begun.tokenization, splits, config)


def start(splits: Splits, config: TrainingConfig, setup: Setup) -> Start:
    """Before the first step of a training on `splits.train`: every generator is seeded here."""
    # oneDNN keeps what it made for each shape of a batch, and length-sorted batches have hundreds: 6 GB on IMDB.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    loop.seed_everything(config.seed)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    encoder, lessons = setup.encoder, setup.lessons
    texts = setup.unlabelled or [*splits.train.texts, *(lessons.texts if lessons is not None else ())]
    words = tokenizer.train(texts, config, encoder.counts if encoder is not None else None)
    tokenization = Tokenization(words, max_tokens=config.max_tokens)
    shape = shape_of(splits, tokenization, config)
    train = encode(splits.train, tokenization, splits.labels)
    if lessons is not None:
        answers_NC = lessons.taught(splits.train.texts, train.targets_NC, share=config.teacher_weight)
        train = _taught(train, answers_NC, stream.encode(lessons.texts, tokenization))
    unread = stream.encode(setup.unlabelled, tokenization)
    network = _network(unread or train.rows, shape, config, words.get_vocab(), encoder).to(setup.device)
    return Start(network, train, unread, tokenization, shape)


def refit(
    splits: Splits,
    config: TrainingConfig,
    progress: Progress,
    setup: Setup,
    *,
    like: Fitted,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Start:
    """A network that has learnt from `splits.train`, all else as `like` did, to the end of its best epoch.

    Goes on from what `keeper` kept. Raises: loop.Interrupted when `stopped` turned true.
    """
    begun = start(splits, config, setup)
    weights = loop.refit(
        begun.network,
        begun.train,
        config,
        progress,
        like=like,
        pretrained=setup.encoder is not None,
        unlabelled=begun.unlabelled,
        keeper=keeper,
        stopped=stopped,
    )
    begun.network.load_state_dict(weights)
    return begun


def assemble(
    begun: Start,
    config: TrainingConfig,
    fitted: Fitted,
    partner: Rival | None,
    mixed: Mixture | None,
    calibration: Calibration,
    *,
    stopped: bool,
) -> Built:
    """The classifier that serves: the network as its weights now are, and as much of `partner` as `mixed` says."""
    shape, ngrams = begun.shape, None
    if partner is not None and mixed is not None:
        ngrams = partner.counter.served(partner.linear.scaled(mixed.linear, bias=mixed.bias))
        shape = shape.model_copy(update={"ngrams": partner.counter.kinds})
    weights = safetensors.torch.save(begun.network.served_state(factor=mixed.network if mixed is not None else 1.0))
    graph = export.to_onnx(shape.network, weights)
    engine = OnnxEngine(graph, weights, threads=config.threads)
    return Built(
        Classifier(shape, begun.tokenization, engine, calibration, ngrams),
        begun.tokenization.to_json(),
        weights,
        graph,
        ngrams,
        mixed,
        fitted,
        stopped,
    )


def choose_device(wanted: str) -> torch.device:
    """Raises: DeviceError if CUDA is wanted and not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' was asked for, but torch finds no CUDA device here")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def identity(
    config: TrainingConfig,
    splits: Splits,
    *,
    encoder: str | None = None,
    unlabelled: str | None = None,
    teachers: str | None = None,
) -> dict[str, Any]:
    """What decides the weights: the settings, the data, how many threads share a sum, and what they start from:
    an encoder's version, or the hash of the texts that one will be made from. `unlabelled` is the hash of the texts
    that are learnt from without labels, `teachers` is what Teachers.identity says.
    """
    return {
        **config.model_dump(exclude=BESIDE_THE_WEIGHTS),
        "threads": config.threads or torch.get_num_threads(),
        "train": splits.train.fingerprint()["sha256"],
        "validation": splits.validation.fingerprint()["sha256"],
        "encoder": encoder,
        "unlabelled": unlabelled,
        "teachers": teachers,
        "torch": str(torch.__version__),  # a class of its own, which a checkpoint would not be read with
    }


def shape_of(splits: Splits, tokenization: Tokenization, config: TrainingConfig) -> ClassifierConfig:
    """The shape of the classifier that these settings and data make."""
    return ClassifierConfig(
        kind=splits.kind,
        labels=splits.labels,
        max_tokens=config.max_tokens,
        network=NetworkConfig(
            vocabulary_size=tokenization.vocabulary_size,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            bidirectional=config.bidirectional,
            classes=len(splits.labels),
        ),
    )


def encode(examples: Examples, tokenization: Tokenization, labels: list[str]) -> Encoded:
    """A split as the network reads it."""
    rows = [tokens.ids for tokens in tokenization.encode(examples.texts)]
    return Encoded(rows, evaluate.flags(examples.labels, labels), examples.kind)


def _taught(train: Encoded, answers_NC: Floats, more: Sequence[Row]) -> Encoded:
    """These rows, and more without labels: what is learnt of all of them are the answers."""
    unknown_NC = np.zeros((len(more), train.targets_NC.shape[1]), dtype=np.bool_)
    return Encoded([*train.rows, *more], np.concatenate([train.targets_NC, unknown_NC]), train.kind, answers_NC)


def _network(
    rows: Sequence[Row],
    shape: ClassifierConfig,
    config: TrainingConfig,
    vocabulary: Mapping[str, int],
    encoder: Encoder | None,
) -> TrainedNetwork:
    """With its starting values; its table is normalised by how often words come in `rows`. Over an encoder it is by how
    often that saw them, but for the words that it lacks: so its vectors mean what they meant.
    """
    frequency_V = np.bincount(np.concatenate(rows), minlength=shape.network.vocabulary_size)
    if encoder is None:
        return TrainedNetwork(shape.network, config, torch.from_numpy(frequency_V).float())
    for word, row in vocabulary.items():
        frequency_V[row] = encoder.counts.get(word, frequency_V[row])
    gentler = config.model_copy(update={"embedding_dropout": config.encoder_dropout})
    network = TrainedNetwork(shape.network, gentler, torch.from_numpy(frequency_V).float())
    encoder.start(network, vocabulary)
    return network


def _mix(network: TrainedNetwork, validation: Encoded, partner: Rival, texts: Sequence[str]) -> Mixture | None:
    """How much the linear model says beside the network; None where it isn't needed."""
    logits_NC, scores_NC = loop.logits(network, validation), partner.scores(texts)
    return mixture.fit(logits_NC, scores_NC, validation.targets_NC, validation.kind, alone=partner.alone)


def _calibrated(built: Built, tokenization: Tokenization, splits: Splits, config: TrainingConfig) -> Built:
    """The same, with probabilities that mean what they say on `splits.calibration`, and rare labels told by them."""
    its = built.classifier
    answers = evaluate.answer(its, splits.calibration)
    calibration = calibrate.fit(answers.logits_NC, answers.targets_NC, its.config.kind)
    judged = evaluate.answer(its, data.joined([splits.validation, splits.calibration]))
    calibration = told(calibration, judged.logits_NC, judged.targets_NC, splits, config)
    return replace(built, classifier=Classifier(its.config, tokenization, its.engine, calibration, built.ngrams))


def told(
    calibration: Calibration, logits_NC: Floats, targets_NC: Flags, splits: Splits, config: TrainingConfig
) -> Calibration:
    """The same, with thresholds by which rare labels are told, chosen on these rows, where there are to be any."""
    if splits.kind != "single-label" or not config.logit_adjustment or config.class_weight != "none":
        return calibration
    counts_C = evaluate.flags(splits.train.labels, splits.labels).sum(axis=0)
    probs_NC = probabilities(logits_NC, calibration, splits.kind)
    thresholds = calibrate.adjusted(probs_NC, targets_NC, counts_C, most=config.logit_adjustment)
    return calibration.model_copy(update={"thresholds": thresholds})
