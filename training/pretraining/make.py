"""Texts to an encoder: tokenizer, language model, fit, in reading order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.tokenization import PAD, Tokenization
from training import loop, precision, tokenizer
from training.config import TrainingConfig
from training.errors import NoLanguage
from training.loop import Keeper, Progress
from training.pretraining import loop as pretraining
from training.pretraining import stream
from training.pretraining.encoder import COUNTS, TABLE, TEXTS, Encoder, EncoderConfig, hashes
from training.pretraining.language_model import LanguageModel
from training.pretraining.loop import Learnt
from training.pretraining.texts import Texts

# The settings that decide an encoder; the others are a classifier's.
DECISIVE = (
    "seed",
    "lowercase",
    "min_count",
    "max_vocabulary",
    "embedding_size",
    "hidden_size",
    "bidirectional",
    "forget_bias",
    "word_dropout",
    "warmup_share",
    "clip",
    *(name for name in TrainingConfig.model_fields if name.startswith("pretrain_")),
)
# Texts are read whole: a stream has no longest one. This is what the tokenizer is asked for.
MOST_TOKENS = 100_000


@dataclass(frozen=True)
class Pretrained:
    """An encoder, and what its report says of how it was made."""

    encoder: Encoder
    learnt: Learnt
    tokens: int  # of the text, an epoch

    def document(self) -> dict[str, Any]:
        """Figures, for a report; `history` is an epoch a row, `loss` in it is what was minimised."""
        learnt = self.learnt
        return {
            "version": self.encoder.version,
            "held_out": {"before": learnt.before.document(), "after": learnt.after.document()},
            "tokens": self.tokens,
            "tokens_per_s": round(sum(epoch.tokens_per_s for epoch in learnt.epochs) / len(learnt.epochs)),
            "history": [
                {"epoch": epoch.epoch, "loss": epoch.loss, "held_out_loss": epoch.validation_loss}
                for epoch in learnt.epochs
            ],
        }


def make(
    texts: Texts,
    config: TrainingConfig,
    progress: Progress,
    *,
    device: torch.device,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Pretrained:
    """Learn to predict the words of `texts.train`; goes on from what `keeper` kept.

    Raises: loop.Interrupted; NoLanguage where no two words come often enough to be one.
    """
    loop.seed_everything(config.seed)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    tokenization = Tokenization(tokenizer.train(texts.train, config), max_tokens=MOST_TOKENS)
    if tokenization.vocabulary_size < 4:
        raise NoLanguage(
            f"fewer than two words come {config.min_count} times in the text (min_count) and are among its "
            f"{config.max_vocabulary:,} most frequent (max_vocabulary)"
        )
    train, held_out = (stream.encode(part, tokenization) for part in (texts.train, texts.held_out))
    counts_V = torch.from_numpy(np.bincount(np.concatenate(train), minlength=tokenization.vocabulary_size))
    counts_V[PAD] = 0
    model = LanguageModel(counts_V, config).to(device)
    learnt = pretraining.fit(model, train, held_out, config, progress, keeper=keeper, stopped=stopped)
    weights = {**_weights(model), COUNTS: counts_V, TEXTS: hashes(texts.train)}
    return Pretrained(_encoder(weights, tokenization, config), learnt, tokens=sum(map(len, train)))


def identity(config: TrainingConfig, texts: Texts, device: torch.device) -> dict[str, Any]:
    """What decides an encoder: settings, texts, how many threads share a sum, and in which precision."""
    return {
        **{name: getattr(config, name) for name in DECISIVE},
        "threads": config.threads or torch.get_num_threads(),
        "bfloat16": precision.takes_bfloat16(device, config),
        "texts": texts.sha256,
        "torch": str(torch.__version__),  # a class of its own, which a checkpoint would not be read with
    }


def _weights(model: LanguageModel) -> dict[str, Tensor]:
    with torch.no_grad():
        return {TABLE: model.table()} | {f"lstm.{name}": value for name, value in model.lstm.state_dict().items()}


def _encoder(weights: Mapping[str, Tensor], tokenization: Tokenization, config: TrainingConfig) -> Encoder:
    shape = EncoderConfig(
        vocabulary_size=tokenization.vocabulary_size,
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        bidirectional=config.bidirectional,
        lowercase=config.lowercase,
        texts=len(weights[TEXTS]),
    )
    kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    return Encoder(shape, tokenization.to_json(), kept)
