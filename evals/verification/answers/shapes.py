r"""Answer -> shape: a list, an interval or point, a set, a union, a matrix, a ratio, a relation, or one expression.

    "x=1, y=2"      Shape("list", [x = 1, y = 2])        "[0, 1)"         Shape("group", [0, 1], "[", ")")
    "0 \le x < 1"   Shape("relation", [0, x, 1])         "A \cup B"       Shape("union", [A, B])

Only the outermost level is read at each step, left to right, so that time is linear in the text for a fixed depth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from evals.verification.answers.notation import clean, number

DEPTH = 8  # levels of shapes
_TOKEN = re.compile(
    r"\\(?:text\s*\{\s*,?\s*(?P<word>and|or)\s*,?\s*\}|begin\s*\{[^{}]*\}|end\s*\{[^{}]*\}|[A-Za-z]+|.)"
    r"|(?<![A-Za-z\\])(?P<plain>and|or)(?![A-Za-z])|[()\[\]{},;|]|[<>]|:=|==|=>|[=:]|[^\\()\[\]{},;|<>=:ao]+|."
)
_RELATIONS = {"=": "=", "==": "=", ":=": "=", r"\equiv": "=", r"\approx": "~", r"\sim": "~", r"\simeq": "~"}
_RELATIONS |= {"<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", r"\ne": "!=", r"\in": "in"}
_SEPARATORS = (",", ";", r"\quad", r"\qquad", r"\land", r"\lor", r"\wedge", r"\vee")
_MATRIX = re.compile(
    r"\\begin\s*\{([pbBvV]?matrix|array|smallmatrix)\}(?:\s*\{[clr|\s]*\})?(.*)\\end\s*\{\1\}", re.DOTALL
)
_GROUP = re.compile(r"[0-9]{3}(?![0-9])")
_BEFORE_GROUP = re.compile(r"(?:(?<![0-9])[0-9]{1,3}|,[0-9]{3})$")
_ROWS = re.compile(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])")
_SET = re.compile(r"\\\{(.*)\\\}", re.DOTALL)
_BUILDER = re.compile(r"\s*[A-Za-z](?:\s*\\in\s*\\mathbb\s*\{?[A-Z]\}?)?\s*(?:\||:)(.+)", re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """kind: leaf (text), list, set, group (in brackets), union, matrix (rows of cells), ratio, relation (with ops)."""

    kind: str
    items: tuple[Shape, ...] = ()
    text: str = ""
    left: str = ""
    right: str = ""
    ops: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=())  # "and", "or" between the items of a list


@lru_cache(4096)
def shape(text: str, depth: int = 0) -> Shape:
    r"""The outermost shape of an answer in plain notation, and those inside it.

    >>> shape("[0,1)").kind, shape(r"\{1,2\}").kind, shape("1,000").kind, shape(r"1 \pm 2i").kind
    ('group', 'set', 'leaf', 'list')
    """
    text = _open_brackets(clean(text) if depth else text).strip()
    if depth > DEPTH or number(text) is not None:
        return Shape("leaf", text=text)
    for reader in (_matrix, _list, _relation, _union, _bracketed, _ratio):
        found = reader(text, depth)
        if found is not None:
            return found
    if r"\pm" in text or r"\mp" in text:
        plus = text.replace(r"\pm", "+").replace(r"\mp", "-")
        minus = text.replace(r"\pm", "-").replace(r"\mp", "+")
        return Shape("list", (Shape("leaf", text=plus), Shape("leaf", text=minus)))
    return Shape("leaf", text=text)


def _open_brackets(text: str) -> str:
    r"""]0, 1[ as (0, 1)."""
    if not re.search(r"(?:^|\\cup|\\in)\s*\]|\[\s*(?:$|\\cup)", text):
        return text
    return re.sub(r"\[\s*(?=$|\\cup)", ")", re.sub(r"(^|\\cup|\\in)\s*\]", r"\1 (", text))


# ---------------------------------------------------------------- splitting at the outermost level


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(token, its meaning, depth of brackets around it): `and`, `or` and commas by their own name."""
    out = []
    depth, bars = 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        meaning = match["word"] or match["plain"] or token
        if token in (")", "]", "}", r"\}", r"\rfloor", r"\rceil") or token.startswith(r"\end"):
            depth = max(0, depth - 1)
        if token == "|":
            bars = 1 - bars
        out.append((token, meaning, depth + (bars if token != "|" else 1)))
        if token in ("(", "[", "{", r"\{", r"\lfloor", r"\lceil") or token.startswith(r"\begin"):
            depth += 1
    if bars:  # an odd bar is no pair
        return _tokens(text.replace("|", r"\bar ")) if "|" in text else out
    return out


def _split(text: str, marks: dict[str, str] | tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The parts of a text between outermost marks, and the marks."""
    parts: list[str] = []
    found: list[str] = []
    current: list[str] = []
    for token, meaning, depth in _tokens(text):
        if depth == 0 and meaning in marks:
            parts.append("".join(current))
            found.append(meaning)
            current = []
        else:
            current.append(token)
    return [*parts, "".join(current)], found


def _list(text: str, depth: int) -> Shape | None:
    parts, found = _split(text, (*_SEPARATORS, "and", "or"))
    if ";" in found and "," in found:  # p = 5, q = 2; p = 7, q = 2: a list of lists
        inner = [shape(part, depth + 1) for part in _split(text, (";",))[0]]
        return Shape("list", tuple(inner))
    if not found:
        return None
    parts, found = _thousands(parts, found)
    kept = [(part.strip(), word) for part, word in zip(parts, ["", *found], strict=True)]
    texts = [part for part, _ in kept if clean(part)]
    if len(texts) < len([p for p, w in kept if p]) or not texts:
        return None
    items = [shape(part, depth + 1) for part in texts]
    if len(items) == 1:
        return items[0] if found and all(w not in ("and", "or") for w in found) else None
    flat = tuple(inner for item in items for inner in (item.items if item.kind == "list" else (item,)))
    words = tuple(sorted({w for w in found if w in ("and", "or")} | {"or" for w in found if w in (r"\lor", r"\vee")}))
    return Shape("list", flat, words=words)


def _thousands(parts: list[str], found: list[str]) -> tuple[list[str], list[str]]:
    """`1,000, 2,000` is two numbers: where some commas have a space behind them, the others group thousands."""
    spaced = any(word != "," or part.startswith(" ") for word, part in zip(found, parts[1:], strict=True))
    joined, marks = [parts[0]], []
    for word, part in zip(found, parts[1:], strict=True):
        grouped = word == "," and _GROUP.match(part) is not None and _BEFORE_GROUP.search(joined[-1]) is not None
        if grouped and (spaced or all(_GROUP.match(p) for p in parts[1:])):
            joined[-1] += "," + part
        else:
            joined.append(part)
            marks.append(word)
    return joined, marks


def _relation(text: str, depth: int) -> Shape | None:
    parts, ops = _split(text, _RELATIONS)
    if not ops or any(not part.strip() for part in parts[1:]):
        return None
    return Shape("relation", tuple(shape(part, depth + 1) for part in parts), ops=tuple(_RELATIONS[op] for op in ops))


def _union(text: str, depth: int) -> Shape | None:
    parts, found = _split(text, (r"\cup",))
    if not found or any(not part.strip() for part in parts):
        return None
    return Shape("union", tuple(shape(part, depth + 1) for part in parts))


def _ratio(text: str, depth: int) -> Shape | None:
    parts, found = _split(text.replace(r"\text{ to }", ":").replace(r"\text{to}", ":"), (":",))
    if not found or any(not part.strip() for part in parts):
        return None
    return Shape("ratio", tuple(shape(part, depth + 1) for part in parts), text=text)


def _bracketed(text: str, depth: int) -> Shape | None:
    if not text or text[0] not in "([\\" or text[-1] not in ")]}":
        return None
    if inner := _SET.fullmatch(text):
        if not _one_group(text):
            return None
        if condition := _BUILDER.fullmatch(inner[1]):
            return shape(condition[1], depth + 1)
        content = shape(inner[1], depth + 1) if inner[1].strip() else Shape("list")
        return Shape("set", content.items if content.kind == "list" else (content,))
    if text[0] == "\\" or not _one_group(text):
        return None
    parts, found = _split(text[1:-1], (",", ";"))
    if not found:
        inside = shape(text[1:-1], depth + 1)
        return inside if inside.kind in ("matrix", "group") or text[0] == "[" else None
    if any(not part.strip() for part in parts):
        return None
    return Shape("group", tuple(shape(p, depth + 1) for p in parts), left=text[0], right=text[-1])


def _one_group(text: str) -> bool:
    """Is the text one pair of brackets?  Kinds may be mixed: [0, 1)."""
    depths = [depth for token, _, depth in _tokens(text)]
    return all(d > 0 for d in depths[1:-1]) and depths[-1] == 0


def _matrix(text: str, depth: int) -> Shape | None:
    match = _MATRIX.fullmatch(text)
    if match is None or r"\begin" in match[2]:
        return None
    rows = [row for row in _ROWS.split(match[2].replace(r"\hline", "")) if row.strip()]
    cells = [Shape("row", tuple(shape(cell, depth + 1) for cell in row.split("&"))) for row in rows]
    return Shape("matrix", tuple(cells), left=match[1][0] if match[1][0] in "vV" else "")
