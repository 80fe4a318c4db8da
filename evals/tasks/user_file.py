"""A user's own FILE.py: importing it, finding it again, and one line that names it where its code raises.

Code of the project may fail with a traceback; code of a user's file fails with the file, the line and the reason.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PREFIX = "task file "  # of the names of such modules; no import statement can say it


def import_file(path: Path) -> ModuleType:
    """The file as a module.  Raises ValueError naming the file and the reason."""
    if not path.is_file():
        raise ValueError(f"task: no file {path}")
    name = f"{PREFIX}{path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        del sys.modules[name]
        raise ValueError(f"task: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def file_of(cls: type) -> Path | None:
    """The FILE.py that the class was imported from; None for a class of a package."""
    return Path(cls.__module__.removeprefix(PREFIX)) if cls.__module__.startswith(PREFIX) else None


def class_path(cls: type) -> str:
    """How the class is found again: "module:Class", or "/path/FILE.py:Class"."""
    return f"{file_of(cls) or cls.__module__}:{cls.__qualname__}"


@contextmanager
def named_errors(cls: type) -> Iterator[None]:
    """What the code of a FILE.py raises becomes a ValueError that names file, line and reason.

    Of any other class everything passes as it is.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if (file := file_of(cls)) is None:
            raise
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f":{frame.lineno}" for frame in frames if Path(frame.filename).resolve() == file]
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"task: {file.name}{(lines or [''])[-1]}: {kind}{error}") from error
