"""Baselines and grouping keys by name, with options, or from a user's file.

    leave_one_out            history(rho=0.95, offline=0)            FILE.py:function            FILE.py:Class

A function of a file takes the round's `Rollouts` and gives a number per completion (a baseline's value, or a group's
number); a class is a `Baseline` or a `GroupKey` of the user's own, with a memory where it wants one.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from algos.core.registry import import_file
from algos.core.types import Rollouts
from algos.grouping import history, keys, predictor, prompt, shrinkage
from algos.grouping.base import Baseline, Choice, GroupKey, Memory

BASELINES: Mapping[str, type[Baseline]] = {
    "none": prompt.NoBaseline,
    "group": prompt.GroupMean,
    "leave_one_out": prompt.LeaveOneOut,
    "length": prompt.LengthWeighted,
    "batch": prompt.BatchMean,
    "greedy": prompt.Greedy,
    "multiscale": prompt.MultiScale,
    "james_stein": shrinkage.JamesStein,
    "james_stein_corrected": shrinkage.JamesSteinCorrected,
    "hierarchical": shrinkage.Hierarchical,
    "history": history.History,
    "window": history.Window,
    "ha_dw": history.HistoryAnchor,
    "kalman": history.Kalman,
    "predictor": predictor.Predictor,
}
KEYS: Mapping[str, type[GroupKey]] = {
    "prompt": keys.Prompt,
    "source": keys.Category,
    "random": keys.Random,
    "difficulty": keys.Difficulty,
    "cluster": keys.Cluster,
    "reward": keys.RewardStrata,
    "length": keys.LengthStrata,
}
CALL = re.compile(r"([a-z_]+)(?:\((.*)\))?")


@functools.lru_cache(maxsize=256)
def baseline(words: str) -> Baseline:
    """Raises ValueError, naming the field, where there is no such baseline, option or file."""
    return _load(words, "baseline", BASELINES, Baseline, UserBaseline)  # type: ignore[type-abstract]


@functools.lru_cache(maxsize=256)
def group_key(words: str) -> GroupKey:
    """The same of a grouping key."""
    return _load(words, "group_by", KEYS, GroupKey, UserKey)  # type: ignore[type-abstract]


Kind = typing.TypeVar("Kind", bound=Choice)


def _load(words: str, field: str, known: Mapping[str, type[Kind]], cls: type[Kind], of_function: Any) -> Kind:
    file, colon, member = words.rpartition(":")
    if colon and file.endswith(".py"):
        return _of_file(Path(file), member, field, cls, of_function)
    match = CALL.fullmatch(words.strip())
    if not match or match[1] not in known:
        raise ValueError(f"algo.{field}: unknown '{words}'; valid: {', '.join(known)}, or FILE.py:function")
    return _build(known[match[1]], match[1], match[2] or "", field)


def _of_file(file: Path, member: str, field: str, cls: type[Kind], of_function: Any) -> Kind:
    found = getattr(import_file(file, f"algo.{field}"), member, None)
    if isinstance(found, type) and issubclass(found, cls):
        try:
            return found()
        except TypeError as error:
            raise ValueError(f"algo.{field}: {file}:{member}: {error}") from error
    if not callable(found) or isinstance(found, type):
        raise ValueError(f"algo.{field}: {file} has no function, and no {cls.__name__}, '{member}'")
    built: Kind = of_function(function=found, name=f"{file}:{member}")
    return built


def _build(cls: type[Kind], name: str, options: str, field: str) -> Kind:
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for word in filter(None, (w.strip() for w in options.split(","))):
        option, equals, text = (part.strip() for part in word.partition("="))
        if not equals or option not in fields:
            valid = ", ".join(fields) or "none"
            raise ValueError(f"algo.{field}: {name} has no option '{option}'; its options: {valid}")
        values[option] = _value(text, fields[option].default, f"algo.{field}: {name}({option}={text})")
    return cls(**values)


def _value(text: str, default: Any, place: str) -> Any:
    """As the default is: a whole number, a number, a word, or true and false."""
    if isinstance(default, str):
        return text.strip("'\"")
    try:
        value = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
    except (ValueError, SyntaxError):
        value = None if text.lower() == "none" else text
    if isinstance(default, bool) or isinstance(value, bool):
        good = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, int):
        good = isinstance(value, int)
    else:
        good = isinstance(value, int | float) and math.isfinite(value)
        value = float(value) if good else value
    if not good and not (default is None and value is None):
        raise ValueError(f"{place}: must be {'true or false' if isinstance(default, bool) else 'a number'}")
    return value


Reader = Callable[[Rollouts], Any]


def _column(function: Reader, name: str, r: Rollouts, like_N: Tensor, field: str) -> Tensor:
    """What a user's function returns, as a number per completion.  Raises ValueError, naming it."""
    try:
        column_N = torch.as_tensor(function(r), device=like_N.device).to(like_N.dtype)
    except Exception as error:
        raise ValueError(f"algo.{field}: {name}: {type(error).__name__}: {error}") from error
    if column_N.shape != like_N.shape or not bool(torch.isfinite(column_N.double()).all()):
        shape = tuple(column_N.shape)
        raise ValueError(
            f"algo.{field}: {name}: must return {len(like_N)} finite numbers, one per completion, not {shape}"
        )
    return column_N


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserBaseline(Baseline):
    """A function of the user's own."""

    function: Reader
    name: str

    def values(self, reward_N: Tensor, valid_N: Tensor, key_N: Tensor, r: Rollouts, memory: Memory) -> Tensor:
        return _column(self.function, self.name, r, reward_N, "baseline")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserKey(GroupKey):
    """A function of the user's own.  What it returns may be any whole numbers."""

    function: Reader
    name: str

    def groups(self, r: Rollouts, valid_N: Tensor, memory: Memory) -> Tensor:
        return _column(self.function, self.name, r, r.group_N, "group_by").unique(return_inverse=True)[1]
