"""The rules of docs/architecture.md about who may import what."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"model": {"training", "app", "cli"}, "training": {"app"}, "app": {"training", "cli"}}
# Who may import what is not in every environment; "lazily" is inside a function.
OPTIONAL = {
    "network.py": {"torch"},
    "engine_torch.py": {"torch", "safetensors"},
    "engine_onnx.py": {"onnxruntime"},
    "build.py": {"hatchling"},
}
LAZILY = {"engine.py": {"torch"}}
ALWAYS_THERE = {"safetensors", "numpy", "tokenizers", "pydantic"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of all that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package is meant"
            yield (node.module or "").partition(".")[0]


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_between_packages_run_one_way(package: str) -> None:
    """training -> model <- app; the bundle is the only contract between training and app."""
    for path in files(package):
        crossing = FORBIDDEN[package].intersection(imports(ast.parse(path.read_text())))
        assert not crossing, f"{path.relative_to(ROOT)} imports {crossing}"


def test_model_imports_an_engines_library_in_that_engine_only() -> None:
    """A CPU server has no torch, and a GPU server needs no onnxruntime: each is imported by its engine's file."""
    outside = ALWAYS_THERE | {"model"} | set(sys.stdlib_module_names)
    for path in files("model"):
        allowed = outside | OPTIONAL.get(path.name, set()) | LAZILY.get(path.name, set())
        strange = set(imports(ast.parse(path.read_text()))) - allowed
        assert not strange, f"model/{path.name} imports {strange}"


@pytest.mark.parametrize("name", LAZILY)
def test_choosing_an_engine_imports_its_library_late(name: str) -> None:
    """The file that chooses can be imported where none of the libraries is."""
    tree = ast.parse((ROOT / "model" / name).read_text())
    at_the_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not LAZILY[name].intersection(imports(ast.Module(at_the_top, [])))


def test_the_app_imports_no_engine() -> None:
    """The server asks `model.engine` to choose; torch and onnxruntime are not its business."""
    for path in files("app"):
        assert not {"torch", "onnxruntime"}.intersection(imports(ast.parse(path.read_text()))), path.name
