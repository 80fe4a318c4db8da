"""Where a command may write: names that come from files stay under OUT, and nothing is written through a link."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

LONGEST = 255  # bytes of a file's name, on every file system in use


def check_name(name: str, field: str) -> str:
    """The name of a folder under OUT.  Raises ValueError, naming the field, where it would lie elsewhere or nowhere.

    >>> check_name("../x", "name")
    Traceback (most recent call last):
    ValueError: name: must be a folder under OUT, without '..', not '../x'
    """
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{field}: must be a folder under OUT, without '..', not {name!r}")
    if not name.isprintable():
        raise ValueError(f"{field}: must be printable text, not {name[:LONGEST]!r}")
    for part in path.parts:
        if len(part.encode("utf-8", "surrogateescape")) > LONGEST:
            raise ValueError(f"{field}: '{part[:20]}...' is longer than {LONGEST} bytes")
    return name


def check_targets(folder: Path, names: Iterable[str]) -> None:
    """Raises ValueError, naming it, where something in the folder that is to be written is a link, or no file.

    A folder may come from anywhere, and a link in it may lead anywhere: what is written there would be lost.
    """
    for file in (folder / name for name in names):
        if file.is_symlink():
            raise ValueError(f"{file}: is a link to {file.readlink()}, and nothing is written through links; remove it")
        if file.exists() and not file.is_file():
            raise ValueError(f"{file}: is not a file, so that it cannot be written; remove it")


def check_no_links(folder: Path) -> Path:
    """The folder of a run that is to be resumed.  Raises ValueError, naming it, where there is a link anywhere in it:
    a resumed run appends to files, replaces others and removes old checkpoints."""
    for file in sorted(folder.rglob("*")):
        if file.is_symlink():
            raise ValueError(
                f"{file}: is a link to {file.readlink()}, and a run is not resumed through links; remove it"
            )
    return folder
