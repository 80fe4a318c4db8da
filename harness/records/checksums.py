"""The sha256 of every file of a folder, written beside them: a flipped bit, a cut file and a lost one are seen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness.records.io import write_json

NAME = "checksums.json"


def file_sha256(file: Path, size: int | None = None) -> str:
    """Of a file, or of its first `size` bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20 if size is None else min(1 << 20, size)):
            digest.update(block)
            size = None if size is None else size - len(block)
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Of all files that are in the folder now."""
    write_json(folder / NAME, {file.name: file_sha256(file) for file in sorted(folder.iterdir())})


def fault(folder: Path) -> str | None:
    """What is not as it was written; None where everything is.  FileNotFoundError where there are no checksums."""
    try:
        digests = json.loads((folder / NAME).read_text())
        for name, digest in digests.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if file_sha256(folder / name) != digest:
                return f"{name} is not as it was written"
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        return f"{NAME} cannot be read: {error}"
    return None
