"""Make the tokenizer from the texts that are learnt from: the train split, and text without labels where it is read."""

from collections import Counter
from collections.abc import Mapping, Sequence

import tokenizers
from tokenizers import models

from model.tokenization import PAD, UNKNOWN
from model.words import normalizer, pre_tokenizer
from training.config import TrainingConfig


def train(texts: Sequence[str], config: TrainingConfig, known: Mapping[str, int] | None = None) -> tokenizers.Tokenizer:
    """A word-level tokenizer of the most frequent words; the rest is unknown. Ties are broken by the alphabet.

    Words that an encoder has a vector for are `known`, with how often it saw them: of those one occurrence in `texts`
    is enough, and behind all words of `texts` the others follow, for what the classifier will meet.
    """
    tokenizer = tokenizers.Tokenizer(models.WordLevel({"<pad>": PAD, "<unk>": UNKNOWN}, unk_token="<unk>"))
    tokenizer.normalizer = normalizer(lowercase=config.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizer()
    vocabulary = _vocabulary(_count(texts, tokenizer), config, known or {})
    tokenizer.model = models.WordLevel(vocabulary, unk_token="<unk>")
    return tokenizer


def _count(texts: Sequence[str], tokenizer: tokenizers.Tokenizer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        normalized = tokenizer.normalizer.normalize_str(text)
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized))
    return counts


def _vocabulary(counts: Counter[str], config: TrainingConfig, known: Mapping[str, int]) -> dict[str, int]:
    vocabulary = {"<pad>": PAD, "<unk>": UNKNOWN}
    own = (word for word, count in counts.items() if count >= config.min_count or word in known)
    frequent = sorted(own, key=lambda word: (-counts[word], word))
    others = sorted((word for word in known if word not in counts), key=lambda word: (-known[word], word))
    wanted = [word for word in (*frequent, *others) if word not in vocabulary]
    for word in wanted[: config.max_vocabulary - len(vocabulary)]:
        vocabulary[word] = len(vocabulary)
    return vocabulary
