"""The interface that makes algorithms peers: `needs`, `schedule`, `credit`, `loss`, and nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from torch import Tensor

from algos.types import Batch, Credit, Fresh, Metrics, Need, Rollouts, Schedule


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method's row of the unified paradigm (2402.03300 §5.2.1, Table 10), whose methods differ in three things alone:

        grad J = E_{(q, o) ~ data source} (1/|o|) sum_t GC(q, o, t, reward) grad log pi(o_t | q, o_<t)           (eq. 5)

    The data source is not written here: the algorithm's schedule says it.
    """

    reward: str  # who judges a completion: "rule", "model", or "none"
    coefficient: str  # GC
    equation: str  # its number in 2402.03300


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """An algorithm is a frozen dataclass: its fields are its hyper-parameters, its defaults the paper's.

    To add one, write `algos/<name>.py` with one subclass (or pass `--algo FILE.py`): nothing else changes.
    """

    paradigm: ClassVar[Row | None] = None  # its row of Table 10, where it has one

    @property
    def needs(self) -> frozenset[Need]:
        """What `credit` and `loss` read beyond the sampled tokens: "reference", "values", "entropy", "steps"."""
        return frozenset()

    def schedule(self, base: Schedule) -> Schedule:
        """The base schedule (prompts and group size of the model's profile), as this algorithm wants it.

        Raises ValueError, naming the field, where the algorithm cannot work with it.
        """
        return base

    def adapt(self, rollouts: Rollouts) -> Self:
        """This algorithm as it goes on after a round: the place of a coefficient that follows a target."""
        return self

    @abstractmethod
    def credit(self, rollouts: Rollouts) -> Credit:
        """Rewards of a whole round -> the worth of each token.  Called without gradient."""

    @abstractmethod
    def loss(self, batch: Batch, fresh: Fresh) -> tuple[Tensor, Metrics]:
        """A batch -> its *share* of the update's loss, and its share of each metric.

        Shares of one update add up: everything is divided by `batch.totals`, so that how an update is cut
        into micro-batches changes no gradient and no metric.
        """


# Modules of this package that are the interface, not an algorithm.
_INTERFACE = {"types", "algorithm", "policy", "ops"}


def names() -> list[str]:
    """The algorithms that ship: one a file of this package."""
    package = Path(__file__).parent
    return sorted(m.name for m in pkgutil.iter_modules([str(package)]) if m.name not in _INTERFACE)


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
    except Exception as error:  # whatever their file does: say which file, and why
        del sys.modules[spec.name]
        raise ValueError(f"{field}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def load(name: str) -> type[Algorithm]:
    """The class of algorithm `name`, or the one defined in FILE.py.

    Raises ValueError on an unknown name (listing the valid ones) or a file without exactly one whole Algorithm.
    """
    if name.endswith(".py"):
        module = import_file(Path(name), "algo")
    elif name in names():
        module = importlib.import_module(f"algos.{name}")
    else:
        raise ValueError(f"algo: unknown algorithm '{name}'; valid: {', '.join(names())}, or a FILE.py")
    classes = {c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Algorithm)}
    found = [c for c in classes if c.__module__ == module.__name__]
    if len(found) != 1:
        raise ValueError(f"algo: {name} must define exactly one Algorithm, found {len(found)}")
    if missing := sorted(found[0].__abstractmethods__):
        raise ValueError(f"algo: {name}: {found[0].__name__} lacks what every Algorithm has: {', '.join(missing)}")
    return found[0]


def check_best(best_of: int | None, **others: Any) -> None:
    """Raises ValueError naming the field: a best of none, or one beside `others` that speak of correct ones alone."""
    if best_of is None:
        return
    if best_of < 1:
        raise ValueError(f"algo.best: must be at least 1, not {best_of}")
    for name, (value, off) in others.items():
        if value != off:
            raise ValueError(f"algo.best: wants algo.{name}={off}, not {value}, which speaks of correct ones".lower())
