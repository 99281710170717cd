"""Our server next to others', with the same network: `python -m benchmarks.serving.rivals [NAME…]`.

Each in turn on the same core (`--cores N` for more), the clients on the last one, round by round; figures are medians
over the rounds. A name is a framework, whose users would have the network on torch, or with `+lembra` our engine inside
its batching. At every start a server's answers are compared with ours; one that answers otherwise isn't measured.

Goodput is the highest rate of single texts at which p99 is 50 ms at most: Poisson arrivals in an open loop, latencies
from when a request should have been sent, a refusal later than any. Then, at 70 % of the best rival's goodput, its p99
beside ours: of the best on torch, and of the best with our engine in it. Needs wrk, and for the first run a package
index and 6 GB. Three rounds of all take about twenty minutes, `--quick` three.
"""

import argparse
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.engine import short_texts
from benchmarks.serving import loads, servers
from benchmarks.serving.loads import Figures
from benchmarks.serving.rivals import answers, environments, recipes
from benchmarks.serving.rivals.answers import WrongAnswerError
from benchmarks.serving.rivals.environments import NotMadeError
from benchmarks.serving.servers import NotStartedError, Recipe, Server

TEXTS = 2000
COMPARED = 128  # of them, at every start
LIMIT_MS = 50.0  # of p99
SHARE = 0.7  # of the best rival's goodput
SENT = 300  # requests of an open loop at least, or the 1 % that may be late are one: a slow server is asked for longer
LONGER = 5  # times, at most
OURS = servers.OURS.name
QUICK = {"rounds": 1, "seconds": 1.0, "steps": 4}
# Of one server in one round: figures, or why there are none.
Found: TypeAlias = Figures | str
Round: TypeAlias = dict[str, Found]
Measure: TypeAlias = Callable[[Server, Sequence[str], int], Figures]


def main() -> None:
    servers.end_on_sigterm()
    given = parse()
    started, unmade = starts(given)
    bench = Bench(given, started[OURS])
    rounds = [bench.round(started, bench.capacity, number) for number in range(given.rounds)]
    medians = by_server(rounds)
    pairs = {name: {OURS: started[OURS], name: started[name]} for name in firsts(medians)}
    duelled = {
        name: [bench.round(pair, bench.p99_at(rate_of(medians[name])), number) for number in range(given.rounds)]
        for name, pair in pairs.items()
    }
    duels = [duel(name, medians, found) for name, found in duelled.items()]
    reasons = unmade | failures([*rounds, *itertools.chain(*duelled.values())])
    show(medians, rounds, duels, reasons, cores=given.cores)
    figures = {"rivals": medians, "duels": duels, "reasons": reasons, "rounds": rounds, "duel_rounds": duelled}
    print(json.dumps(loads.finite(figures | conditions(given, started) | machine.describe())))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(recipes.RIVALS))
    parser.add_argument("--bundle", type=Path, default=machine.BUNDLES / "sentiment-en")
    parser.add_argument("--data", type=Path, default=machine.DATA)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of one load")
    parser.add_argument("--steps", type=int, default=6, help="rates that are tried of each server in a round")
    parser.add_argument("--cores", type=int, default=1, help="of the server")
    parser.add_argument("--quick", action="store_true", help="; ".join(f"{key} {QUICK[key]}" for key in QUICK))
    given = parser.parse_args(arguments)
    if given.quick:
        vars(given).update(QUICK)
    given.names = given.names or list(recipes.RIVALS)
    if unknown := sorted(set(given.names) - set(recipes.RIVALS)):
        parser.error(f"there is no rival {', '.join(unknown)}; there are {', '.join(recipes.RIVALS)}")
    if given.cores >= (there_are := len(os.sched_getaffinity(0))):
        parser.error(f"--cores {given.cores} leaves none of {there_are} to the clients")
    return given


def starts(given: argparse.Namespace) -> tuple[dict[str, Recipe], dict[str, str]]:
    """How each server is started, ours first; and why those are not that have no environment.

    Each has a process a core that computes, on one thread.
    """
    settings = {"LEMBRA_BUNDLES": str(given.bundle), "LEMBRA_WORKERS": str(given.cores), "LEMBRA_THREADS": "1"}
    made = {OURS: replace(servers.OURS, environment={**servers.OURS.environment, **settings})}
    unmade = {}
    for name in given.names:
        rival = recipes.RIVALS[name]
        try:
            python = environments.python(rival.framework)
        except NotMadeError as error:
            unmade[name] = str(error)
        else:
            made[name] = rival.recipe(python, bundle=given.bundle, workers=given.cores)
    return made, unmade


class Bench:
    """Texts, our answers to them, cores, and each measurement."""

    def __init__(self, given: argparse.Namespace, ours: Recipe) -> None:
        every = sorted(os.sched_getaffinity(0))
        self._cores, self._clients = every[: given.cores], every[-1:]
        self._seconds, self._steps = given.seconds, given.steps
        self._texts = list(itertools.islice(short_texts(given.data), TEXTS))
        bodies = [loads.body(text) for text in self._texts[:COMPARED]]
        with servers.running(ours, self._cores) as server:
            self._expected = answers.ask(server.port, bodies)
        with servers.running(ours, self._cores, eight_bits=False) as server:
            self._fine = answers.ask(server.port, bodies)

    def round(self, started: Mapping[str, Recipe], measure: Measure, number: int) -> Round:
        """Each server once."""
        found: Round = {}
        first = number % len(started)  # another one in every round
        for name, recipe in [*started.items()][first:] + [*started.items()][:first]:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            lists = name in recipes.RIVALS and recipes.RIVALS[name].start.lists
            bodies = [loads.body([text] if lists else text) for text in self._texts]
            try:
                with servers.running(recipe, self._cores) as server:
                    # Who computes in float32 isn't held to integers of 8 bits, nor are they to it.
                    expected = self._fine if name in recipes.ON_TORCH else self._expected
                    answers.check(answers.ask(server.port, bodies[:COMPARED]), expected)
                    self._closed(server, bodies)  # words are met
                    found[name] = measure(server, bodies, number)
            # The last is wrk's, where a server has ended. What the others found is worth more than to end here.
            except (NotStartedError, WrongAnswerError, subprocess.CalledProcessError) as error:
                found[name] = str(error)
        return found

    def capacity(self, server: Server, bodies: Sequence[str], number: int) -> Figures:
        """Single texts of 32 clients, and goodput."""
        closed = self._closed(server, bodies)

        def passes(rate: float) -> bool:
            return self._p99_ms(server, bodies, rate=rate, seconds=self._seconds, seed=number) <= LIMIT_MS

        goodput = loads.highest(passes, guess=max(1.0, closed["req_s"] / 2), steps=self._steps)
        figures = {"req_s": closed["req_s"], "failed": closed["failed"], "goodput": goodput}
        return figures | {"ready_s": server.ready_s, "mb": server.memory_mb}

    def p99_at(self, rate: float) -> Measure:
        """Measures p99 at this rate, over three times as long."""

        def measure(server: Server, bodies: Sequence[str], number: int) -> Figures:
            return {"p99_ms": self._p99_ms(server, bodies, rate=rate, seconds=3 * self._seconds, seed=number)}

        return measure

    def _closed(self, server: Server, bodies: Sequence[str]) -> Figures:
        return loads.closed(server.port, bodies, connections=32, seconds=self._seconds, cores=self._clients)

    def _p99_ms(self, server: Server, bodies: Sequence[str], *, rate: float, seconds: float, seed: int) -> float:
        seconds = max(seconds, min(SENT / rate, LONGER * seconds))
        arrivals = loads.poisson([("short", 1.0, bodies)], rate=rate, seconds=seconds, seed=seed)
        return loads.p99_ms(loads.open_loop(server.port, arrivals, cores=self._clients))


def by_server(rounds: Sequence[Round]) -> dict[str, Figures]:
    """Medians over the rounds; none of a server that failed in any, as it answers wrongly or breaks."""
    found: dict[str, Figures] = {}
    for name in rounds[0]:
        ran = [figures for one in rounds if isinstance(figures := one[name], dict)]
        if len(ran) == len(rounds):
            found[name] = {key: statistics.median(figures[key] for figures in ran) for key in ran[0]}
    return found


def failures(rounds: Sequence[Round]) -> dict[str, str]:
    """Why those servers failed that did, at the last."""
    return {name: why for one in rounds for name, why in one.items() if isinstance(why, str)}


def firsts(medians: Mapping[str, Figures]) -> list[str]:
    """Of the rivals on torch, and of those with our engine in them, the best, where any has some goodput."""
    found = []
    for names in (recipes.ON_TORCH, recipes.ON_OURS):
        able = [name for name in names if name in medians and medians[name]["goodput"] > 0]
        found += sorted(able, key=lambda name: medians[name]["goodput"])[-1:]
    return found


def rate_of(figures: Figures) -> float:
    """At which two are compared, in requests a second."""
    return SHARE * figures["goodput"]


def duel(name: str, medians: Mapping[str, Figures], rounds: Sequence[Round]) -> dict[str, Any]:
    """A rival beside us: our goodput over its, and p99 of both at the same rate."""
    ratio = medians[OURS]["goodput"] / medians[name]["goodput"] if OURS in medians else None
    p99_ms = {server: figures["p99_ms"] for server, figures in by_server(rounds).items()}
    return {"rival": name, "goodput_ratio": ratio, "rate": rate_of(medians[name]), "p99_ms": p99_ms}


# What is shown of each server: the heading, and how the figure is written.
COLUMNS = (
    ("goodput, req/s", "{goodput:,.0f}"),
    ("its rounds", "{lowest:,.0f} to {highest:,.0f}"),
    ("32 clients, req/s", "{req_s:,.0f}"),
    ("ready, s", "{ready_s:.1f}"),
    ("MB", "{mb:,.0f}"),
)


def show(
    medians: Mapping[str, Figures],
    rounds: Sequence[Round],
    duels: Sequence[Mapping[str, Any]],
    reasons: Mapping[str, str],
    *,
    cores: int,
) -> None:
    """For people, on stdout."""
    title = f"server on {cores} of the cores; goodput with p99 at most {LIMIT_MS:g} ms"
    table = Table("server", *(heading for heading, _ in COLUMNS), title=title, title_justify="left")
    for name, figures in medians.items():
        goodputs = [found["goodput"] for one in rounds if isinstance(found := one[name], dict)]
        spread = {"lowest": min(goodputs), "highest": max(goodputs)}
        table.add_row(name, *(form.format(**figures, **spread) for _, form in COLUMNS))
    Console(width=110).print(table)
    for name, reason in reasons.items():
        print(f"{name}: {reason}")
    for one in duels:
        p99s = ", ".join(f"{name} {p99_ms:,.1f} ms" for name, p99_ms in one["p99_ms"].items())
        ratio = "" if one["goodput_ratio"] is None else f"our goodput over its {one['goodput_ratio']:.2f}; "
        print(f"{one['rival']}: {ratio}p99 at {one['rate']:,.0f} req/s, {SHARE:.0%} of its goodput: {p99s}")


def conditions(given: argparse.Namespace, started: Mapping[str, Recipe]) -> dict[str, Any]:
    """What the figures depend on: settings, and of each server the command and the versions."""
    return {
        "seconds": given.seconds,
        "steps": given.steps,
        "limit_ms": LIMIT_MS,
        "server_cores": given.cores,
        "workers": given.cores,
        "threads": 1,  # of each of them
        "commands": {name: _command(recipe) for name, recipe in started.items()},
        "packages": {
            framework: environments.versions(environments.python(framework), framework)
            for framework in sorted({recipes.RIVALS[name].framework for name in started if name != OURS})
        },
    }


def _command(recipe: Recipe) -> str:
    variables = [f"{name}={value}" for name, value in recipe.environment.items()]
    return shlex.join(["env", *variables, "python", *recipe.arguments])


if __name__ == "__main__":
    main()
