"""How each rival is started: a framework with the network on torch, or with our engine inside its batching."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.serving import loads
from benchmarks.serving.servers import UVICORN, Recipe

HERE = "benchmarks.serving.rivals"
PROBE = "a quiet, clever and moving film"


@dataclass(frozen=True, slots=True)
class Start:
    """Of a framework: arguments of its environment's Python, variables, and whether a request is a list of one text.

    `{port}` and `{workers}` in either are filled in.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    lists: bool = False


STARTS = {
    "fastapi": Start((*UVICORN, "--workers", "{workers}", f"{HERE}.fastapi:app")),
    "litserve": Start(("-m", f"{HERE}.litserve")),
    "bentoml": Start(
        ("-m", "bentoml", "serve", f"{HERE}.bentoml:Classify", "--host", "127.0.0.1", "--port", "{port}"),
        {"BENTOML_DO_NOT_TRACK": "true"},
        lists=True,
    ),
    "ray": Start(("-m", f"{HERE}.ray"), {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}),
    "mosec": Start(("-m", f"{HERE}.mosec", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning")),
}


@dataclass(frozen=True, slots=True)
class Rival:
    """A framework, and what computes in it."""

    framework: str
    engine: Literal["torch", "lembra"]

    @property
    def start(self) -> Start:
        return STARTS[self.framework]

    @property
    def name(self) -> str:
        return self.framework if self.engine == "torch" else f"{self.framework}+lembra"

    def recipe(self, python: Path, *, bundle: Path, workers: int) -> Recipe:
        """Of its server, which is ready once it has answered a text."""
        variables = {
            "RIVAL_ENGINE": self.engine,
            "RIVAL_BUNDLE": str(bundle.absolute()),
            "RIVAL_WORKERS": str(workers),
            "RIVAL_PORT": "{port}",
        }
        return Recipe(
            self.name,
            tuple(argument.replace("{workers}", str(workers)) for argument in self.start.arguments),
            {**self.start.environment, **variables},
            python=str(python),
            ready=("POST", "/classify", loads.body([PROBE] if self.start.lists else PROBE)),
        )


ON_TORCH = list(STARTS)
ON_OURS = [f"{framework}+lembra" for framework in STARTS]
RIVALS = {rival.name: rival for rival in (Rival(framework, "torch") for framework in ON_TORCH)} | {
    rival.name: rival for rival in (Rival(name.partition("+")[0], "lembra") for name in ON_OURS)
}
