"""The server's settings, from the environment: `LEMBRA_PORT=9000`. Start reading at `Settings`."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError
from model.engine import Device

PREFIX = "LEMBRA_"
Count = Annotated[int, Field(ge=1)]
DAY_S = 86_400


class Settings(BaseSettings):
    """Every setting, with its default; each is read from `LEMBRA_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    bundles: Annotated[Path, Field(description="folder of bundles, or one bundle")] = Path("bundles")
    default_model: Annotated[str | None, Field(description="the bundle that answers where a request names none")] = None
    device: Annotated[Device, Field(description="auto, cpu or cuda")] = "auto"
    threads: Annotated[
        int, Field(ge=0, le=1024, description="CPU threads an engine; 0 shares the cores out among the workers")
    ] = 0
    eight_bits: Annotated[
        bool,
        Field(
            description="compute in integers of 8 bits where a bundle's report shows that they agree: faster with "
            "AVX-512 VNNI or AMX, and no probability of the test rows was further off than 0.01"
        ),
    ] = True

    workers: Annotated[
        Count | Literal["auto"],
        Field(
            description="processes of `lembra serve`; auto is one a core, which shares `threads` out, or one on a GPU"
        ),
    ] = 1

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8000

    max_body_bytes: Annotated[Count, Field(description="of one request")] = 8 * 2**20
    max_texts: Annotated[Count, Field(description="of one request")] = 2048
    max_characters: Annotated[Count, Field(description="of one text")] = 100_000
    max_waiting_tokens: Annotated[
        Count, Field(description="admitted and not answered; more, or more than most of the deadline's work, gets 429")
    ] = 1_000_000
    max_batch_tokens: Annotated[Count, Field(description="padded tokens of one batch")] = 8192
    deadline_s: Annotated[float, Field(gt=0, le=DAY_S, description="for one request, from its admission")] = 30.0
    drain_s: Annotated[
        float,
        Field(ge=0, le=DAY_S, description="between SIGTERM, when /health/ready turns 503, and closing the socket"),
    ] = 0.0

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.max_batch_tokens > self.max_waiting_tokens:
            raise ValueError("max_batch_tokens must not be above max_waiting_tokens")
        return self


def load() -> Settings:
    """Settings from the environment. Raises: SettingsError for a value out of range, or a name that means nothing."""
    _refuse_unknown()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"{PREFIX}{first['loc'][0]}".upper() if first["loc"] else "the settings"
        value = f" = {first['input']!r}" if first["loc"] else ""
        raise SettingsError(f"{name}{value}: {first['msg']}") from None


def _refuse_unknown() -> None:
    known = [name.upper() for name in Settings.model_fields]
    for name in os.environ:
        asked = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and asked not in known:
            near = [PREFIX + found for found in difflib.get_close_matches(asked, known, n=2)]
            there_are = ", ".join(PREFIX + found for found in known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {there_are}"
            raise SettingsError(f"there is no setting {name}; {hint}")
