"""A directory of files that a manifest lists with their hashes: written whole or not at all, and read byte for byte.

What a bundle is made of, and an encoder. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import BundleError

MANIFEST = "manifest.json"
LIBRARIES = ("torch", "onnx", "onnxruntime", "tokenizers", "numpy", "safetensors")

# A plain name: a manifest can't point outside its directory.
FileName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Document = TypeVar("Document", bound=BaseModel)


class FileEntry(BaseModel):
    """Size in bytes and sha256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """What is in a directory, and where it came from. `digest` is the sha256 of all its other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    name: str
    version: str
    created: str
    commit: str | None
    libraries: dict[str, str]
    files: dict[FileName, FileEntry]
    digest: str = ""


def read(path: Path, *, newest: int, required: Sequence[str]) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and every file that it lists, by name.

    Raises: BundleError that names the file, where one is damaged or missing, or the format is higher than `newest`.
    """
    manifest = _read_manifest(path, newest=newest)
    files = {name: _read_checked(path / name, entry) for name, entry in manifest.files.items()}
    missing = [name for name in required if name not in files]
    if missing:
        raise BundleError(f"{path / MANIFEST} doesn't list {', '.join(missing)}")
    return manifest, files


def write(
    path: Path,
    files: Mapping[str, bytes],
    *,
    number: int,
    version: str,
    created: datetime,
    commit: str | None,
    overwrite: bool,
    check: Callable[[Path], object],
) -> Manifest:
    """Write `files`, and a manifest of format `number`, beside `path` in a hidden folder; `check` it; then rename it.

    Raises: BundleError if `path` exists and `overwrite` is false, or it can't be written; `path` is as it was.
    """
    if path.exists() and not overwrite:
        raise BundleError(f"{path} exists")
    unsigned = Manifest(
        format=number,
        name=path.name,
        version=version,
        created=created.isoformat(timespec="seconds"),
        commit=commit,
        libraries=versions(LIBRARIES),
        files={name: FileEntry(sha256=sha256(data), size=len(data)) for name, data in sorted(files.items())},
    )
    manifest = unsigned.model_copy(update={"digest": digest(unsigned)})
    try:
        _write_directory(path, {**files, MANIFEST: document(manifest)}, check)
    except OSError as error:
        raise BundleError(f"{path} can't be written: {error}") from error
    return manifest


def version(files: Mapping[str, bytes], decisive: Sequence[str]) -> str:
    """The first 12 hex digits of a sha256 over the hashes of the `decisive` files."""
    return sha256("".join(sha256(files[name]) for name in decisive).encode())[:12]


def parse(file: Path, kind: type[Document], data: bytes) -> Document:
    """A document of that kind. Raises: BundleError that names the file and the field."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{file}: {where}: {first['msg']}") from error


def text(file: Path, data: bytes) -> str:
    """Raises: BundleError."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{file} isn't UTF-8: {error.reason} at byte {error.start}") from error


def digest(manifest: Manifest) -> str:
    """The sha256 of a manifest without its digest."""
    return sha256(document(manifest.model_copy(update={"digest": ""})))


def document(value: BaseModel) -> bytes:
    """The bytes of a document's file."""
    return to_json(value.model_dump(mode="json"))


def to_json(value: Any) -> bytes:
    """The bytes of a JSON file."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256(data: bytes) -> str:
    """In hex digits."""
    return hashlib.sha256(data).hexdigest()


def _write_directory(path: Path, files: Mapping[str, bytes], check: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:40]}.") as hidden:
        # A folder inside, as the outer one is for its maker's eyes only; and under its own name, as errors show it.
        unfinished = Path(hidden) / path.name
        unfinished.mkdir()
        for name, data in files.items():
            with (unfinished / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        check(unfinished)
        replaced = Path(hidden) / "replaced"
        if path.exists():
            path.rename(replaced)
        try:
            unfinished.rename(path)
        except OSError:
            if replaced.exists():
                replaced.rename(path)
            raise


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of those of them that are installed under these names."""
    found = {}
    for name in libraries:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _read_manifest(path: Path, *, newest: int) -> Manifest:
    file = path / MANIFEST
    data = _read(file)
    try:
        number = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{file} is no manifest: {error!r}") from error
    if isinstance(number, int) and number > newest:
        raise BundleError(f"{file} has format {number}; this version of lembra reads formats up to {newest}")
    manifest = parse(file, Manifest, data)
    # Byte for byte, so that a flipped bit anywhere shows, white space included.
    if manifest.digest != digest(manifest) or data != document(manifest):
        raise BundleError(f"{file} doesn't match its own digest: it was changed after it was written")
    return manifest


def _read_checked(file: Path, entry: FileEntry) -> bytes:
    data = _read(file)
    if len(data) != entry.size:
        raise BundleError(f"{file} has {len(data):,} bytes; the manifest says {entry.size:,}")
    if sha256(data) != entry.sha256:
        raise BundleError(f"{file} doesn't match its sha256 in the manifest: it is damaged, or was changed")
    return data


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{file} is missing") from None
    except OSError as error:
        raise BundleError(f"{file} can't be read: {error.strerror}") from error
