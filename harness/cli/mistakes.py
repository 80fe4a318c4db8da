"""What a mistyped command is told: the command, option or field that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from harness.cli.options import FIELDS
from harness.config.nearest import nearest


def usage(error: Any, words: Sequence[str]) -> str:
    """One line for an error of the command line's parser; `words` are what was typed.

    An option that there is not, and a field that there is: `--lr 1e-5` is `--set lr=1e-5`.
    """
    message = str(error.format_message())
    if message.startswith("No such command"):
        commands = error.ctx.command.list_commands(error.ctx)
        typed = re.search(r"'(.+)'", message)
        near = difflib.get_close_matches(typed[1], commands, 1) if typed else []
        asked = f" Did you mean {near[0]}?" if near and "Did you mean" not in message else ""  # newer Typers ask it
        return f"{message}{asked} Valid: {', '.join(commands)}."
    option = getattr(error, "option_name", None)
    if message.startswith("No such option") and option and error.ctx is not None:
        return _option(option, words, error.ctx.command.params) or message
    return message


def _option(option: str, words: Sequence[str], params: Sequence[Any]) -> str | None:
    """What to type instead; None where nothing is near.  Options come before fields that are near."""
    options = {name for param in params for name in param.opts if name.startswith("--")}
    near = difflib.get_close_matches(option, options, 1, 0.8)
    value = _value(option, words)
    name = option.lstrip("-").replace("-", "_")
    if near and name not in FIELDS:  # --lr is near --lora, and is lr
        return f"No such option: {option}; did you mean {near[0]}?"
    field = nearest(name, FIELDS)
    if field is None or "--set" not in options:
        return None
    own = f"--{field.removesuffix('_name').replace('_', '-')}"
    typed = f"{own} {value}" if own in options else f"--set {field}={value}"
    return f"No such option: {option}; did you mean {typed}?  (harness list shows every field)"


def _value(option: str, words: Sequence[str]) -> str:
    for i, word in enumerate(words):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and i + 1 < len(words) and not words[i + 1].startswith("--"):
            return words[i + 1]
    return "VALUE"


def with_new_name(message: str) -> str:
    """A message that a field is unknown, and what it is called since schema 2 if that is why."""
    from harness.records.upgrade import renamed

    found = re.search(r"([\w.]+): unknown field", message)
    if found and (new := renamed(found[1])) != found[1] and new in message:
        return f"{message} ({found[1]} is now {new})"
    return message
