"""One process per run folder: a run outlives an `ablate` that was killed, and a command may be typed twice.

The operating system lets go of the lock when its process ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

NAME = ".lock"  # stays behind, empty


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """No other process writes there while this holds.  Raises ValueError, one line, where one does, or the folder is
    not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / NAME, thread_local=False).acquire(timeout=1)  # a look of `busy` lasts no second
    except Timeout:
        raise ValueError(f"name: another process is writing {folder}; wait until it has ended, or stop it") from None
    except OSError as error:
        raise ValueError(f"out: cannot write in {folder}: {error.strerror or error}") from error
    with lock:
        yield


def busy(folder: Path) -> bool:
    """Does some process hold it?"""
    if not (folder / NAME).exists():
        return False
    try:
        with FileLock(folder / NAME).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # whoever runs there will say what is wrong
        return False
