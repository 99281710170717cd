"""benchmarks.runs: what is kept isn't done again, and what was cut off goes on."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accuracy, runs
from benchmarks.runs import Keep, Run, RunFailed
from tests.training.files import JSONL, write


def counted(found: dict[str, Any], times: list[Path]) -> Callable[[Path], dict[str, Any]]:
    def work(folder: Path) -> dict[str, Any]:
        times.append(folder)
        return found

    return work


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    """Under the same name and made of the same; anything else is other work."""
    times: list[Path] = []
    keep = Keep(tmp_path / "kept")
    for made_of in (["a", "b"], ["a", "b"], ["ab"], ["a", "b", "c"]):
        assert keep.once("My set-0", made_of, counted({"x": 1}, times)) == {"x": 1}
    assert len(times) == 3
    assert all(path.name.startswith("my-set-0-") and path.suffix == ".json" for path in keep.folder.iterdir())


def test_what_other_code_made_counts_where_it_may(tmp_path: Path) -> None:
    """Only if asked, and not before what this code made."""
    keep, lenient = Keep(tmp_path), Keep(tmp_path, any_code=True)
    assert keep.once("a", ["x"], lambda _: {"by": "old"}, code="old") == {"by": "old"}
    assert lenient.once("a", ["x"], lambda _: {"by": "new"}, code="new") == {"by": "old"}
    assert lenient.once("a", ["y"], lambda _: {"by": "new"}, code="new") == {"by": "new"}
    assert keep.once("a", ["x"], lambda _: {"by": "new"}, code="new") == {"by": "new"}
    assert lenient.once("a", ["x"], lambda _: {}, code="new") == {"by": "new"}


def test_what_is_not_kept_is_not_begun_where_only_that_was_asked_for(tmp_path: Path) -> None:
    """It is told, and the others are there."""
    Keep(tmp_path).once("a", ["x"], lambda _: {"by": "before"})
    only, begun = Keep(tmp_path, only=True), []
    works = {name: partial(only.once, name, ["x"], counted({}, begun)) for name in ("a", "b")}
    assert (runs.together(works, ThreadPoolExecutor(1)), begun) == ({"a": {"by": "before"}}, [])


def test_of_several_that_other_code_made_the_newest_counts(tmp_path: Path) -> None:
    """Whatever their names are."""
    for code, ended in (("b", "2026-01-01"), ("a", "2026-03-01"), ("c", "2026-02-01")):
        Keep(tmp_path).once("a", ["x"], lambda _, ended=ended: {"ended": ended}, code=code)
    assert Keep(tmp_path, any_code=True).once("a", ["x"], lambda _: {}, code="new") == {"ended": "2026-03-01"}


def test_without_a_folder_nothing_is_kept() -> None:
    """Each time it is done, in a folder that is gone afterwards."""
    times: list[Path] = []
    for _ in range(2):
        Keep().once("a", [], counted({}, times))
    assert len(times) == 2
    assert not any(folder.exists() for folder in times)


def test_work_that_was_cut_off_goes_on_in_its_folder(tmp_path: Path) -> None:
    """What lies there after a failure is there the next time, and gone when all is done."""
    keep = Keep(tmp_path)

    def cut_off(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").touch()
        raise RunFailed("cut off")

    with pytest.raises(RunFailed):
        keep.once("a", [], cut_off)
    assert keep.once("a", [], lambda folder: {"there": (folder / "checkpoint").exists()}) == {"there": True}
    assert len(list(tmp_path.iterdir())) == 1


def test_two_that_come_to_the_same_work_both_have_it(tmp_path: Path) -> None:
    """Whichever ends first takes the scratch folder away under the other."""
    keep = Keep(tmp_path)

    def outrun(_: Path) -> dict[str, Any]:
        keep.once("a", [], lambda _: {"by": "the first"})
        return {"by": "the second"}

    assert keep.once("a", [], outrun) == {"by": "the second"}
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text(encoding="utf-8")) == {"by": "the second"}


def test_one_failed_run_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """It is told, and the rest come in the order in which they were asked for."""

    def fail() -> dict[str, Any]:
        raise RunFailed("exit code 2")

    works = {"a": lambda: {"n": 1}, "b": fail, "c": lambda: {"n": 3}}
    assert runs.together(works, ThreadPoolExecutor(2)) == {"a": {"n": 1}, "c": {"n": 3}}
    assert "b FAILED" in capsys.readouterr().err


def test_a_run_has_one_thread_and_the_given_settings_last() -> None:
    """So that the number of runs at once changes no weights; a setting that is given goes over that."""
    assert Run("a", Path("a"), 3, "debug", ("threads=2",)).arguments == [
        *("--seed", "3", "--device", "auto", "--recipe", "debug", "--set", "threads=1", "--set", "threads=2")
    ]
    assert "--recipe" not in Run("a", Path("a"), 3).arguments


def test_a_sets_digest_is_of_its_files_alone(tmp_path: Path) -> None:
    """Another folder with the same files is the same set; another byte is another."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write(folder, "train.jsonl", JSONL)
    assert runs.digest(folders[0]) == runs.digest(folders[1])
    write(folders[1], "train.jsonl", JSONL + "\n")
    assert runs.digest(folders[0]) != runs.digest(folders[1])


def test_only_a_change_of_the_named_code_is_another_version(tmp_path: Path) -> None:
    """Committed or not; a commit of other files repeats no run."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    found = []
    for name, content, commit in (("code", "1", True), ("page", "1", True), ("code", "2", False), ("code", "2", True)):
        (tmp_path / name).write_text(content)
        git("add", ".")
        if commit:
            git("commit", "-m", name)
        found.append(runs.code_version(("code",), tmp_path))
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert runs.code_version(("code",), tmp_path / "none") == "unknown"


def test_a_kept_run_stands_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained once, by `lembra train`; the second table is made of what was kept."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, "train.jsonl", JSONL)
    write(folder, "test.jsonl", '{"text": "a new text", "label": "a"}\n')
    quick = ["--set", "rival=false", "--set", "find_label_errors=false", "--set", "epochs=1", "--set", "least_steps=1"]
    asked = ["mine", "--data", str(tmp_path), "--recipe", "debug", "--seeds", "5", "--keep", str(tmp_path / "kept")]
    assert accuracy.main([*asked, *quick]) == 0
    (kept,) = (tmp_path / "kept").iterdir()
    found = json.loads(kept.read_text())
    assert (found["device"], found["settings"]["threads"], found["resumed"]) == ("cpu", 1, False)
    found["metrics"]["test"]["accuracy"] = 0.123
    kept.write_text(json.dumps(found))
    capsys.readouterr()
    assert accuracy.main([*asked, *quick]) == 0
    closing = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert closing["accuracy"]["mine"]["ours"]["accuracy"]["values"] == [0.123]
    assert (closing["won"], closing["of"], closing["seeds"]) == (0, 1, [5])


def test_a_rival_that_is_not_kept_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where only what is kept is to be shown, none is fitted, and the table stands without it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder, "train.jsonl", JSONL)
    write(folder, "test.jsonl", '{"text": "a new text", "label": "a"}\n')
    asked = ["mine", "--data", str(tmp_path), "--seeds", "--keep", str(tmp_path / "kept"), "--kept-only", "--rivals"]
    assert accuracy.main(asked) == 0
    told = capsys.readouterr()
    assert "NB-SVM is left out: mine-NB-SVM is not in" in told.err
    assert json.loads(told.out.splitlines()[-1])["accuracy"]["mine"]["rivals"] == {}


def test_a_run_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """One class only is refused."""
    write(tmp_path, "train.jsonl", '{"text": "a", "label": "a"}\n')
    with pytest.raises(RunFailed, match=r"mine, seed 0: exit code 2\n.*one class only"):
        runs.train(Run("mine", tmp_path, 0), Keep())
