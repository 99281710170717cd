"""The `lembra` command. Reads arguments, calls the packages, prints; imports lazily, so that `--help` is quick."""

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from model.engine import Device as EngineDevice

app = typer.Typer(
    help="Text classification with an LSTM of your own: labelled text in, POST /classify out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Bundle = Annotated[Path, typer.Argument(help="a bundle directory")]
Device = Annotated[EngineDevice, typer.Option(help="where to compute")]
TextColumn = Annotated[str, typer.Option(help="the column, or key, of the text")]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="the column, or key, of the label, or of a list of labels", show_default="label, or else labels"),
]
Track = Annotated[
    bool,
    typer.Option(
        "--track/--no-track", help="TensorBoard's files in .NAME.run; MLflow where MLFLOW_TRACKING_URI is set"
    ),
]
Recipe = Annotated[
    str, typer.Option(help="a TOML file, the name of a built-in recipe, or auto: by the shape of the data")
]
Separator = Annotated[
    str | None, typer.Option("--label-separator", help="cuts the label column into several labels: multi-label")
]

Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, over the recipe; may be repeated")]
Seed = Annotated[int | None, typer.Option(help="fixes everything that is drawn at random")]
Force = Annotated[bool, typer.Option("--force", help="replace the bundle if it exists")]
Resume = Annotated[bool, typer.Option("--resume", help="go on with a run that was cut off, to the same weights")]
EncoderFolder = Annotated[
    Path | None,
    typer.Option(
        "--encoder", help="start from what `lembra pretrain` wrote: no other is made, its sizes go over the recipe's"
    ),
]

# Suspects that `check` shows; --json gives all.
WORST = 10
# Texts in memory at a time, in `classify`.
CHUNK = 1024


@contextmanager
def _clear_errors() -> Iterator[None]:
    """One line on stderr and exit code 2 for what the packages refuse on purpose."""
    from model.errors import ModelError

    try:
        yield
    except ModuleNotFoundError as error:
        extra = "tune" if error.name == "optuna" else "train"
        print(f"error: {error.name} is not installed; this command needs: pip install -e '.[{extra}]'", file=sys.stderr)
    except ModelError as error:
        _refuse(error)
    except Exception as error:
        from training.errors import TrainingError

        if not isinstance(error, TrainingError):
            raise
        _refuse(error)
    else:
        return
    raise typer.Exit(2)


def _refuse(error: Exception) -> None:
    from training.printable import one_line

    print(f"error: {one_line(str(error))}", file=sys.stderr)


def _write(lines: Iterable[str]) -> None:
    """Lines of JSON or TOML, to stdout."""
    _as_utf_8()
    for line in lines:
        print(line)


def _as_utf_8() -> None:
    """JSON and TOML are UTF-8, whatever the locale says; in stdout, what isn't is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


@app.command()
def train(
    data: Annotated[
        Path | None,
        typer.Argument(help="a folder with train (valid, test), or one file", show_default="the sample corpus"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the bundle to write, such as bundles/NAME")] = None,
    recipe: Recipe = "auto",
    settings: Settings = None,
    seed: Seed = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = None,
    separator: Separator = None,
    device: Device = "auto",
    force: Force = False,
    resume: Resume = False,
    track: Track = True,
    encoder: EncoderFolder = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="only print the settings as a recipe, each with what it means")
    ] = False,
) -> None:
    """Make a bundle from labelled text; the last line on stdout is its JSON summary."""
    with _clear_errors():
        from training.data import SAMPLE, read
        from training.errors import ConfigError
        from training.reading import Columns

        if out is None and not print_recipe:
            raise ConfigError("--out is missing: the bundle to write, such as bundles/NAME")
        chosen = _Chosen(recipe, settings or [], seed)
        parts = read(data if data is not None else SAMPLE, Columns(text_column, label_column, separator))
        if out is None or print_recipe:
            _write(_settings(chosen, parts, encoder).to_toml().splitlines())
            return
        _run(chosen, parts, out, device=device, overwrite=force, resume=resume, track=track, encoder=encoder)


@app.command()
def distil(
    data: Annotated[Path, typer.Argument(help="a folder with train (valid, test, unlabelled), or one file")],
    out: Annotated[Path, typer.Option(help="the bundle to write, such as bundles/NAME")],
    teachers: Annotated[
        list[Path], typer.Option("--teacher", help="a bundle to learn from; may be repeated, for the mean of several")
    ],
    recipe: Recipe = "auto",
    settings: Settings = None,
    seed: Seed = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = None,
    separator: Separator = None,
    device: Device = "auto",
    force: Force = False,
    resume: Resume = False,
    track: Track = True,
    encoder: EncoderFolder = None,
) -> None:
    """As train, but that network and n-grams learn the answers of larger bundles, or of several, too."""
    with _clear_errors():
        from training.data import read
        from training.reading import Columns

        chosen = _Chosen(recipe, settings or [], seed)
        parts = read(data, Columns(text_column, label_column, separator))
        places = {"encoder": encoder, "teachers": teachers}
        _run(chosen, parts, out, device=device, overwrite=force, resume=resume, track=track, **places)


class _Chosen:
    """The settings that were asked for, refused before the data is read where they are no settings."""

    def __init__(self, recipe: str, settings: list[str], seed: int | None) -> None:
        from training import recipe as recipes

        recipes.check(recipe, settings, seed=seed)
        self._asked = recipe, settings
        self._seed = seed

    def resolve(self, parts: Any) -> tuple[str, Any]:
        """The recipe's name, and all settings."""
        from training import recipe as recipes

        return recipes.load(*self._asked, parts, seed=self._seed)


def _settings(chosen: _Chosen, parts: Any, encoder: Path | None) -> Any:
    """Those that a run would have."""
    config = chosen.resolve(parts)[1]
    if encoder is None:
        return config
    from training.pretraining.encoder import Encoder

    return Encoder.open(encoder).settings(config)


def _run(chosen: _Chosen, parts: Any, out: Path, **options: Any) -> None:
    from rich.console import Console

    from training import run

    recipe, config = chosen.resolve(parts)
    console = Console(stderr=True)
    outcome = run.run(parts, out, config, recipe=recipe, console=console, offer=_offer_best, **options)
    _write([json.dumps(asdict(outcome))])


@app.command()
def pretrain(
    texts: Annotated[Path, typer.Argument(help="a folder with train or unlabelled, or one file; labels aren't read")],
    out: Annotated[Path, typer.Option(help="the encoder to write, such as encoders/NAME")],
    recipe: Annotated[str | None, typer.Option(help="a TOML file, or the name of a built-in recipe")] = None,
    settings: Settings = None,
    seed: Seed = None,
    text_column: TextColumn = "text",
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="replace the encoder if it exists")] = False,
    resume: Resume = False,
) -> None:
    """Learn from text without labels, for `lembra train --encoder`; the last line on stdout is its JSON summary."""
    with _clear_errors():
        from rich.console import Console

        from training import config
        from training import pretrain as pretraining
        from training.reading import Columns

        outcome = pretraining.pretrain(
            texts,
            out,
            config.load(recipe, settings or [], seed=seed),
            columns=Columns(text_column),
            device=device,
            console=Console(stderr=True),
            overwrite=force,
            resume=resume,
        )
        _write([json.dumps(asdict(outcome))])


@app.command()
def autotune(
    data: Annotated[Path, typer.Argument(help="a folder with train (valid, test), or one file")],
    out: Annotated[Path, typer.Option(help="the bundle to write, such as bundles/NAME")],
    minutes: Annotated[float, typer.Option(help="the time for all of it, the final run included")],
    trials: Annotated[int | None, typer.Option(min=1, help="end after so many trials, for a search to repeat")] = None,
    max_mb: Annotated[float | None, typer.Option(help="the bundle's size at most, in 10⁶ bytes")] = None,
    max_us_per_text: Annotated[
        float | None, typer.Option(help="microseconds a text at most, asked alone, on one thread")
    ] = None,
    recipe: Recipe = "auto",
    settings: Settings = None,
    seed: Seed = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = None,
    separator: Separator = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="replace the bundle if it exists, and start over")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a search that was cut off")] = False,
    track: Track = True,
) -> None:
    """Search for better settings, and make the bundle by them; the last line on stdout is its JSON summary."""
    with _clear_errors():
        from rich.console import Console

        from training import recipe as recipes
        from training.data import read
        from training.reading import Columns
        from training.tuning import autotune as search
        from training.tuning.budget import Budget
        from training.tuning.search import Limits

        recipes.check(recipe, settings or [], seed=seed)
        parts = read(data, Columns(text_column, label_column, separator))
        outcome = search.autotune(
            parts,
            out,
            recipes.load(recipe, settings or [], parts, seed=seed)[1],
            device=device,
            console=Console(stderr=True),
            limits=Limits(minutes, trials, Budget(max_mb, max_us_per_text)),
            overwrite=force,
            resume=resume,
            track=track,
            offer=_offer_best,
        )
        _write([json.dumps(asdict(outcome))])


def _offer_best() -> bool:
    return sys.stdin.isatty() and typer.confirm("Write the best so far as the bundle?", err=True)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="a folder with train (valid, test, unlabelled), or one file")],
    as_json: Annotated[bool, typer.Option("--json", help="everything as one JSON line, with all suspects")] = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = None,
    separator: Separator = None,
    seed: Annotated[int, typer.Option(help="fixes what would be held out, and the folds of the search")] = 0,
) -> None:
    """Look at labelled text before training: repeats, leaks, labels that look wrong.

    Exits with 1 where something serious was found, and with 2 where the data can't be read.
    """
    with _clear_errors():
        from rich.console import Console

        from training import data as reader
        from training import recipe as recipes
        from training import telling
        from training.checks import check
        from training.reading import Columns

        parts = reader.read(data, Columns(text_column, label_column, separator))
        refusal = reader.refusal(parts, recipes.load(recipes.AUTO, [], parts, seed=seed)[1])
        found = check.check(parts, seed=seed, most=None if as_json else WORST, refusal=refusal)
        if as_json:
            _write([found.model_dump_json()])
        else:
            telling.show_check(Console(), found, title=f"{data}, as it was read")
            telling.show_suspects(Console(), found.suspects)
    if found.serious:
        raise typer.Exit(1)


@app.command()
def evaluate(
    bundle: Bundle,
    file: Annotated[Path, typer.Argument(help="labelled text: jsonl(.gz), csv, tsv or parquet")],
    as_json: Annotated[bool, typer.Option("--json", help="all figures as one JSON line")] = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = None,
    separator: Separator = None,
    device: Device = "auto",
) -> None:
    """Measure a bundle on labelled text."""
    with _clear_errors():
        from rich.console import Console

        from training import data, evaluate, reading, telling

        classifier = _open(bundle).classifier(device=device)
        columns = reading.Columns(text_column, label_column, separator)
        examples = reading.read(file, columns, known=classifier.config.labels)
        data.check_fits(file, examples, classifier.config)
        report = evaluate.report(evaluate.answer(classifier, examples))
        if as_json:
            _write([report.model_dump_json()])
        else:
            telling.show_report(Console(), report, title=f"{bundle.name} on {file.name}")


@app.command()
def classify(
    bundle: Bundle,
    file: Annotated[
        str, typer.Argument(help="jsonl(.gz), csv, tsv or parquet; a file of plain text, and -, has a text a line")
    ] = "-",
    jsonl: Annotated[bool, typer.Option("--jsonl", help="whatever it is called, it has a JSON object a line")] = False,
    text_column: TextColumn = "text",
    device: Device = "auto",
) -> None:
    """Classify every text of a file or of stdin: one JSON line each, in order, in constant memory."""
    with _clear_errors():
        classifier = _open(bundle).classifier(device=device)
        _write(_answers(classifier, _texts(file, text_column, jsonl=jsonl)))


def _answers(classifier: Any, texts: Iterable[str]) -> Iterator[str]:
    index = 0
    texts_left = iter(texts)
    while chunk := list(islice(texts_left, CHUNK)):
        for prediction in classifier.predict(chunk):
            scores = dict(zip(classifier.config.labels, prediction.probs, strict=True))
            line = {"index": index, "label": prediction.label, "score": prediction.score}
            line |= {"labels": prediction.labels, "scores": scores}
            line |= {"tokens": prediction.tokens, "truncated": prediction.truncated}
            yield json.dumps(line, ensure_ascii=False)
            index += 1


@app.command()
def inspect(bundle: Bundle, as_json: Annotated[bool, typer.Option("--json", help="as one JSON line")] = False) -> None:
    """Check a bundle, and show what is in it and how good it was."""
    with _clear_errors():
        opened = _open(bundle)
        metrics: dict[str, Any] = opened.report.get("metrics", {})
        shown = {
            "name": opened.name,
            **opened.manifest.model_dump(include={"version", "format", "created", "commit", "libraries"}),
            **opened.config.model_dump(),
            "calibration": opened.calibration.model_dump(),
            "bytes": sum(entry.size for entry in opened.manifest.files.values()),
            "metrics": {
                split: {name: value for name, value in figures.items() if isinstance(value, int | float)}
                for split, figures in metrics.items()
            },
            "data": opened.report.get("data"),
            "command": opened.report.get("command"),
        }
        if as_json:
            _write([json.dumps(shown, ensure_ascii=False)])
        else:
            from rich import print_json

            _as_utf_8()
            print_json(data=shown, ensure_ascii=False)


@app.command()
def serve(
    bundles: Annotated[
        Path | None, typer.Option(help="folder of bundles, or one bundle", show_default="bundles")
    ] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on", show_default="8000")] = None,
    workers: Annotated[
        str | None,
        typer.Option(help="processes, each with the bundles in its own memory; auto: one a core", show_default="1"),
    ] = None,
) -> None:
    """Serve POST /classify. Every other setting is read from LEMBRA_*; these options go over it."""
    given = {"LEMBRA_BUNDLES": bundles, "LEMBRA_HOST": host, "LEMBRA_PORT": port, "LEMBRA_WORKERS": workers}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    from app.__main__ import serve as listen

    listen()


def _open(path: Path) -> Any:
    from model.bundle import Bundle as Opened

    return Opened.open(path)


def _texts(file: str, column: str, *, jsonl: bool) -> Iterable[str]:
    from training import reading

    columns = reading.Columns(text=column)
    if file == "-":
        return reading.stream_texts(sys.stdin.buffer, columns, jsonl=jsonl)
    path = Path(file)
    if jsonl or path.name.lower().endswith(reading.SUFFIXES):
        return reading.read_texts(path, columns, jsonl=jsonl)
    return reading.plain_texts(path)


if __name__ == "__main__":
    app()
