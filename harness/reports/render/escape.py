"""Texts of models, files and records as parts of a Markdown page: seen as they are, and never markup that acts.

inert      of a text that may have `code` and **bold** of its own (a study's): no tags, no links, no images
literal    of any other (gold answers, reasons of failures): no markup at all
code       as inline code
"""

from __future__ import annotations

import re

from harness.accounting.format import visible

TAG = re.compile(r"<(?=[A-Za-z/!?])")
LINK = re.compile(r"(?<!\\)((?:\\\\)*)\](?=[(\[:])")  # of a text before its address, another's name, or its own
SPECIAL = re.compile(r"[\\`*_{}\[\]#~$!]")


def inert(text: str) -> str:
    """On one line, without HTML and without links; `code`, **bold** and all other signs stay as they are.

    >>> inert("a < b, <b>[x](javascript:y)")
    'a < b, &lt;b>[x\\\\](javascript:y)'
    """
    return LINK.sub(r"\1\\]", TAG.sub("&lt;", visible(re.sub(r"\s*[\r\n]\s*", " ", text))))


def literal(text: str) -> str:
    """On one line, every sign of Markdown escaped.

    >>> literal("KeyError: `a_b`")
    'KeyError: \\\\`a\\\\_b\\\\`'
    """
    return inert(SPECIAL.sub(r"\\\g<0>", visible(text)))


def code(text: str) -> str:
    """Inline code for a table's cell: no backticks, no line breaks."""
    return f"`{visible(' '.join(text.replace('`', chr(39)).split()))}`"


def cell(text: str) -> str:
    """A table's cell: a pipe does not end it, however many backslashes stand before it."""
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (1 + len(found[1]) % 2) + "|", text)
