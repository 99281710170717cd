"""app.settings: what the environment says, or a refusal to start."""

import os
from pathlib import Path

import pytest

from app import settings
from app.errors import SettingsError
from app.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests has no say."""
    for name in [name for name in os.environ if name.upper().startswith("LEMBRA_")]:
        monkeypatch.delenv(name)


def test_everything_has_a_default() -> None:
    """A server starts with no settings at all, and listens to this machine only."""
    found = settings.load()
    assert (found.host, found.port, found.bundles, found.device) == ("127.0.0.1", 8000, Path("bundles"), "auto")


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("LEMBRA_BUNDLES", "/srv/bundles", "bundles", Path("/srv/bundles")),
        ("LEMBRA_DEFAULT_MODEL", "sentiment-en", "default_model", "sentiment-en"),
        ("LEMBRA_DEVICE", "cpu", "device", "cpu"),
        ("LEMBRA_PORT", "9000", "port", 9000),
        ("LEMBRA_WORKERS", "4", "workers", 4),
        ("LEMBRA_WORKERS", "auto", "workers", "auto"),
        ("LEMBRA_DEADLINE_S", "2.5", "deadline_s", 2.5),
        ("lembra_max_texts", "7", "max_texts", 7),
        ("LEMBRA_PORT", "", "port", 8000),
    ],
)
def test_a_setting_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object
) -> None:
    """Each has the name of its field, in capitals or not; an empty one, as compose files leave it, is not set."""
    monkeypatch.setenv(name, value)
    assert getattr(settings.load(), field) == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LEMBRA_PORT", "99999", "65535"),
        ("LEMBRA_PORT", "http", "integer"),
        ("LEMBRA_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("LEMBRA_THREADS", "-1", "0"),
        ("LEMBRA_WORKERS", "0", "1"),
        ("LEMBRA_WORKERS", "all", "integer"),
        ("LEMBRA_MAX_TEXTS", "0", "1"),
        ("LEMBRA_MAX_BODY_BYTES", "16MB", "integer"),
        ("LEMBRA_DEADLINE_S", "0", "0"),
        ("LEMBRA_DEADLINE_S", "inf", "86400"),
        ("LEMBRA_DEADLINE_S", "nan", "86400"),
        ("LEMBRA_DRAIN_S", "-5", "0"),
    ],
)
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """The error names the setting, its value and the limit."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert str(caught.value).startswith(f"{name} = {value!r}: ")
    assert said in str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting would otherwise be a default, silently."""
    monkeypatch.setenv("LEMBRA_DEAD_LINE_S", "5")
    with pytest.raises(SettingsError, match=r"no setting LEMBRA_DEAD_LINE_S; did you mean LEMBRA_DEADLINE_S\b"):
        settings.load()


def test_a_name_like_none_is_refused_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is near, the error lists what there is."""
    monkeypatch.setenv("LEMBRA_QQQ", "5")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert all(f"LEMBRA_{name}".upper() in str(caught.value) for name in Settings.model_fields)


def test_a_batch_must_fit_into_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings that are each fine may still exclude each other."""
    monkeypatch.setenv("LEMBRA_MAX_BATCH_TOKENS", "100")
    monkeypatch.setenv("LEMBRA_MAX_WAITING_TOKENS", "99")
    with pytest.raises(SettingsError, match="max_batch_tokens must not be above max_waiting_tokens"):
        settings.load()
