"""The rules of docs/architecture.md about who may import what."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"model": {"training", "app", "cli"}, "training": {"app", "cli"}, "app": {"training", "cli"}}
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


def layout() -> dict[str, list[str]]:
    """The files of each package, in the order of the tree in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = re.findall(
        r"^( {4,8})([\w./*]+) ", text[text.index("    model/ ") : text.index("    bundles/ ")], re.MULTILINE
    )
    found: dict[str, list[str]] = {}
    folders = [""] * 3
    for indent, name in tree:
        depth = len(indent) // 2 - 2
        if name.endswith("/"):
            folders[depth:] = [name] * (3 - depth)
            found.setdefault(folders[0][:-1], [])
        elif name.endswith(".py"):
            inside = folders[1] if depth == 2 else ""
            found[folders[0][:-1]].append(f"{folders[0]}{inside}{name}")
    return found


def imported_modules(path: Path) -> Iterator[str]:
    """The files that it may mean by what it imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            place = node.module.replace(".", "/")
            yield from (f"{place}.py", *(f"{place}/{alias.name}.py" for alias in node.names))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_tree_has_every_file_and_its_imports_run_upwards(package: str) -> None:
    """A file imports those of its package that stand above it: read downwards, nothing is used before it is there."""
    listed = layout()[package]
    there = {str(path.relative_to(ROOT)) for path in files(package) if path.name != "__init__.py"}
    assert set(listed) == there - {"model/native/build.py"}
    for number, name in enumerate(listed):
        below = set(listed[number:]).intersection(imported_modules(ROOT / name))
        assert not below, f"{name} imports {below}"


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
