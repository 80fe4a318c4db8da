"""What the fields of a dataclass mean: the comments behind them, for `--help`, `harness list` and the docs.

    clip_low: float = 0.2  # the paper gives no epsilon; chosen: PPO's 0.2

The comment is where a reader of the file looks, on the field's own line, and nothing is written twice.  Docstrings
below the fields would double the lines of an algorithm's file, and `Annotated[float, "..."]` would bury its types.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import sys
import tokenize
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class FieldDoc:
    """One field: FieldDoc("seed", "int", "0", "of all random numbers")."""

    name: str
    kind: str  # its type, or the words that it may be
    default: str
    doc: str  # "" where there is no comment


def comments_in(source: str, name: str) -> dict[str, str]:
    """The comment of each annotated field of class `name` in the source, of those that have one.

    >>> comments_in("class A:\\n    x: int = 0  # how many\\n    # not a field's\\n    y: str\\n", "A")
    {'x': 'how many'}
    """
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.name == name]
    body = classes[0].body if classes else []
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    comments: dict[int, str] = {}  # by line
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            comments[token.start[0]] = token.string.lstrip("# ").strip()
    found = {}
    for node in fields:
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        text = " ".join(comments[line] for line in lines if line in comments)
        if text:
            found[typing.cast(ast.Name, node.target).id] = text
    return found


@cache
def comments_of(cls: type) -> dict[str, str]:
    """The same of a class and what it inherits; its own comments go before those of its bases."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        if preset := vars(parent).get("preset"):  # a row of a table: it says why
            found |= {name: why for name, (_, why) in preset.fields.items()}
            continue
        module = sys.modules.get(parent.__module__)
        if module is None or "__annotations__" not in vars(parent):
            continue
        try:
            found |= comments_in(inspect.getsource(module), parent.__name__)
        except (OSError, TypeError, SyntaxError):  # no source: what is not known is not said
            continue
    return found


def fields_of(cls: Any) -> list[FieldDoc]:
    """Every field of a dataclass, in order; none of another class."""
    if not dataclasses.is_dataclass(cls):
        return []
    hints, comments = typing.get_type_hints(cls), comments_of(typing.cast(type, cls))
    return [
        FieldDoc(f.name, _kind(hints[f.name]), _default(f), comments.get(f.name, ""))
        for f in dataclasses.fields(cls)
        if f.init
    ]


def _kind(hint: Any) -> str:
    words = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    plain = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return " | ".join(map(str, words)) or plain.replace("typing.", "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return repr(value) if isinstance(value, dict | list | tuple) else f"{type(value).__name__}()"
    return "required"
