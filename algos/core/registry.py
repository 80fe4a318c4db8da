"""The algorithms that there are, by name or by FILE.py."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from algos.core import presets
from algos.core.algorithm import Algorithm
from algos.core.preset import Preset

PACKAGE = Path(__file__).parent.parent


def names() -> list[str]:
    """The algorithms that ship, and their variants."""
    return sorted([*_modules(PACKAGE), *variant_names()])


def variant_names() -> list[str]:
    """Those that are another one with other defaults, or with a few lines of their own: `variants/family.toml`."""
    return sorted(presets.table(presets.FAMILY))


def dialect_names() -> list[str]:
    """A framework's default objective under the name of an algorithm, `grpo_trl`: `variants/dialects.toml`."""
    return list(presets.table(presets.DIALECTS))


def with_preset(algo: str, preset: str) -> str:
    """The algorithm's name in a framework's dialect.  Raises ValueError where there is none, listing those that are."""
    known = [name.removeprefix(f"{algo}_") for name in dialect_names() if name.startswith(f"{algo}_")]
    if preset not in known:
        valid = ", ".join(known) or "none"
        raise ValueError(f"preset: no dialect '{preset}' of algo '{algo}'; valid: {valid}")
    return f"{algo}_{preset}"


def preset_of(name: str) -> Preset | None:
    """The row of a table that a name stands for, where it is one."""
    return presets.table(presets.FAMILY).get(name) or presets.table(presets.DIALECTS).get(name)


def _modules(folder: Path) -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.ispkg)


def import_file(path: Path, field: str) -> ModuleType:
    """The user's own FILE.py as a module.  Raises ValueError, naming the field that asked for it."""
    if not path.is_file():
        raise ValueError(f"{field}: no file {path}")
    spec = importlib.util.spec_from_file_location(f"{field} file {path.resolve()}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything: name the file and the reason
        del sys.modules[spec.name]
        raise ValueError(f"{field}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def load(name: str) -> type[Algorithm]:
    """The class of algorithm `name`, or the one defined in FILE.py.

    Raises ValueError on an unknown name (listing the valid ones) or a file without exactly one whole Algorithm.
    """
    preset = preset_of(name)
    if preset and preset.base:
        return presets.class_of(preset, load(preset.base))
    if name.endswith(".py"):
        module = import_file(Path(name), "algo")
    elif name in names():
        module = importlib.import_module(f"algos.variants.{name}" if preset else f"algos.{name}")
    else:
        raise ValueError(f"algo: unknown algorithm '{name}'; valid: {', '.join(names())}, or a FILE.py")
    classes = {c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Algorithm)}
    found = [c for c in classes if c.__module__ == module.__name__]
    if len(found) != 1:
        raise ValueError(f"algo: {name} must define exactly one Algorithm, found {len(found)}")
    if missing := sorted(found[0].__abstractmethods__):
        raise ValueError(f"algo: {name}: {found[0].__name__} lacks what every Algorithm has: {', '.join(missing)}")
    return found[0]
