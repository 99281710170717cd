"""model.classifier: what of a text is read, by either of its parts, and what is said where that isn't all."""

import pytest

from model.errors import TextError
from tests import tiny

LONG = "the film was good "


@pytest.mark.parametrize("with_ngrams", [False, True])
def test_a_text_is_refused_rather_than_cut(*, with_ngrams: bool) -> None:
    """Without `truncate`, the error names the text and the limits."""
    classifier = tiny.classifier(ngrams=tiny.ngrams() if with_ngrams else None)
    characters = 96 if with_ngrams else 768
    with pytest.raises(TextError, match=rf"text 1 .* 12 tokens \(or {characters} characters\)") as caught:
        classifier.predict(["good", LONG * 4], truncate=False)
    assert caught.value.index == 1


def test_what_the_ngrams_have_not_read_is_cut_too() -> None:
    """Of few but long words, the network reads them all and the n-grams don't."""
    text = "the film " + "responsabilidade " * 6
    assert not tiny.classifier().predict([text])[0].truncated
    whole = tiny.classifier(ngrams=tiny.ngrams())
    assert whole.predict([text])[0].truncated
    with pytest.raises(TextError):
        whole.predict([text], truncate=False)


def test_white_space_at_the_end_is_nothing_to_be_cut() -> None:
    """Before words it is: the n-grams don't get to them, and the answer says so."""
    whole = tiny.classifier(ngrams=tiny.ngrams())
    expected, longer, pushed = whole.predict([LONG, LONG + "\n" * 500, "\n" * 500 + LONG])
    assert not expected.truncated
    assert longer == expected
    assert pushed.truncated
