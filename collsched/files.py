"""Files that appear whole or not at all: written beside their place, looked at, then moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from collsched.errors import InputError


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write to; the file moves to `path` if the block ends well, else it is gone.

    Raises InputError if `path` exists (unless `force`) or cannot be written.
    """
    if not force and path.exists():
        raise InputError(f"{path}: exists; choose another name with -o, or pass --force to replace it")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be written: {reason}; choose another place") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write text to `path`, in the place of what was there. Raises InputError if that cannot be."""
    with whole_file(path, force=True) as beside, beside.open("x", encoding="utf-8") as file:
        file.writelines(parts)


@contextmanager
def whole_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A directory to write to; what is in it moves to the directory `path` if the block ends well, else it is gone.

    Raises InputError if `path` exists and is not empty (unless `force`: files of the same names are replaced) or
    cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not force and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: exists; choose another directory with -o, or pass --force to write into it")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        yield beside
        path.mkdir(exist_ok=True)
        for file in sorted(beside.iterdir()):
            file.replace(path / file.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; choose another directory with -o") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
