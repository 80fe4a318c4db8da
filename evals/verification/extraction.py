r"""Text -> answers: where a text marks its final answers, and which part of it is read.

Standard library only.  Whether two answers are equal is decided in `answers/`.  Every function takes time linear in
its text, whatever the model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Format = Literal["hash", "boxed", "answer_is"]  # '#### 14', '\boxed{14}', 'The answer is 14.'
Marks = list[tuple[int, str]]  # marked answers: (where the answer starts, its text)

TAIL = 20_000  # characters of a completion that are read, counted from its end

# How models mark their reasoning: (opening, closing).  What is between them is not read.
REASONING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
_PARTS = ("<|channel|>", "<|message|>")  # tokens of which the last pair is made
_HINTS = ("hink", "HINK", "hought", "easoning", "channel")  # one of them is in each tag
_OPENING, _CLOSING = (tuple(pair[i] for pair in REASONING) for i in (0, 1))

_CHARS = str.maketrans(dict.fromkeys("−–‐‑﹣－", "-") | dict.fromkeys("\xa0\u2009\u202f~", " "))
_IN_TEXT = re.compile(
    r"(?:(?<![\w)\]}])-\$?)?(?<![0-9])(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,3})?(?:/[0-9]+)?"
)
_HEADING = re.compile(r"[\s*_]*[A-Za-z]{2}")
_STATED = re.compile(  # a word, and a value behind it: 'Answer: 15', 'Total cost = $15', 'So 15'
    r"[\s*_]*(?P<words>[A-Za-z][A-Za-z' ]{0,60}?)[\s*_]*(?P<sign>[:=]|\bis\b)?[\s*_]*"
    r"(?P<value>[-+]?[$\\]?(?:[-0-9\\(\[{]|\.[0-9]).*)",
    re.DOTALL,
)
_FINAL = re.compile(r"(?i)answer|result|total|final|solution|therefore|thus|hence")
_DENIED = re.compile(r"(?i)\b(?:not?|never|wrong|incorrect|false|than|least|most|about)\b|n't")
_LISTED = re.compile(
    r"(?i)(?:step|part|case|method|section|chapter|problem|question|exercise|example|equation|day|way)s?\b"
)


# ---------------------------------------------------------------- what is read


def final_part(completion: str) -> str:
    """The part of a completion that is searched for answers: its tail, after the reasoning.

    >>> final_part("<think>14?</think>The answer is 15."), final_part("14 <think> or 15")
    ('The answer is 15.', '14 ')
    """
    if not any(hint in completion for hint in _HINTS):  # the usual text, read as fast as can be
        return completion[-TAIL:]
    closed = _after_last(completion, _CLOSING)
    opened = min((at for tag in _OPENING if (at := completion.find(tag, closed)) >= 0), default=len(completion))
    return completion[closed:opened][-TAIL:]


def _after_last(text: str, tags: tuple[str, ...]) -> int:
    """Where the last of the tags ends, 0 where there is none."""
    return max(at + len(tag) if (at := text.rfind(tag)) >= 0 else 0 for tag in tags)


def leaves_reasoning_open(completion: str) -> bool:
    """Does it end inside its reasoning?

    >>> leaves_reasoning_open("<think>14"), leaves_reasoning_open("<think>14</think>")
    (True, False)
    """
    return _after_last(completion, _OPENING) > _after_last(completion, _CLOSING)


def opening_tag(text: str) -> str:
    """The opening tag that is last in a text, "" where there is none."""
    end = _after_last(text, _OPENING)
    return next((tag for tag in _OPENING if text[:end].endswith(tag)), "")


def is_reasoning_tag(token: str) -> bool:
    """Is a token, as a tokenizer spells it, one of the tags or a part of one?  Decoding has to keep it.

    >>> is_reasoning_tag("<think>"), is_reasoning_tag("<|im_end|>")
    (True, False)
    """
    return token.strip() in (*_OPENING, *_CLOSING, *_PARTS)


def numbers(text: str) -> list[str]:
    """The numbers in a text, in order.  A minus after a digit or bracket is an operator.

    >>> numbers("12-(5-3)+4=14, or -$1,000.50 and 3/4.")
    ['12', '5', '3', '4', '14', '-$1,000.50', '3/4']
    """
    return [match[0] for match in _IN_TEXT.finditer(text.translate(_CHARS))]


# ---------------------------------------------------------------- marked answers


_TO_END = re.compile(r"[^\r\n]*?(?=####|[\r\n]|$)")
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s+(?P<bare>[-+.0-9A-Za-z]+)|\\.|[{}]")


def _hash(text: str) -> Marks:
    lines = (_TO_END.match(text, mark.end()) for mark in re.finditer(r"(?<!#)####(?!#)", text))
    return [(rest.start(), rest[0]) for rest in lines if rest and rest[0].strip()]


def _boxed(text: str) -> Marks:
    boxes: Marks = []
    open_: list[tuple[bool, int]] = []  # of each open brace: is it a box's, and where its content starts
    for token in _BOX_TOKEN.finditer(text):
        if token["bare"]:  # \boxed 2
            boxes.append((token.start("bare"), token["bare"]))
        elif token[0] == "{" or len(token[0]) > 2:
            open_.append((token[0] != "{", token.end()))
        elif token[0] == "}" and open_:
            box, start = open_.pop()
            if box:
                while boxes and boxes[-1][0] > start:  # those inside this one
                    boxes.pop()
                boxes.append((start, text[start : token.start()]))
    return [(at, content) for at, content in boxes if content.strip()]


_SAYS = re.compile(r"(?i)\bthe\s+(?:final\s+)?answer\s+is\b[\s:*]*((?:[^.\r\n]|\.(?=\S))*)")
_CRIED = re.compile(r"(?<=[0-9])!+[\s*]*$")  # 'The answer is 18!' has no factorial


def _answer_is(text: str) -> Marks:
    return [(match.start(1), _CRIED.sub("", match[1])) for match in _SAYS.finditer(text) if match[1].strip()]


READERS: dict[Format, Callable[[str], Marks]] = {"hash": _hash, "boxed": _boxed, "answer_is": _answer_is}


def marked(text: str, format: Format) -> Marks:
    r"""The non-empty answers marked in a format, in order.

    `hash`: from `####` to the end of the line.  A mark that starts with a word is a heading, passed over where there
    is another, unless a value stands behind the word: `#### Answer: 15` is an answer, 15.  `boxed`: balanced `\boxed{}`
    and `\fbox{}`, the outer of nested ones.  `answer_is`: from `the (final) answer is` to the end of the sentence or
    line; the dot of 3.5 ends no sentence.

    >>> marked("#### Step 1: add\n12+2=14\n#### 14", "hash"), marked(r"so \boxed{\frac{1}{2}}", "boxed")
    ([(29, ' 14')], [(10, '\\frac{1}{2}')])
    >>> marked("#### 14\n#### Answer: 15", "hash")
    [(4, ' 14'), (21, '15')]
    """
    marks = READERS[format](text)
    if format != "hash":
        return marks
    read = [(mark, _stated(mark)) for mark in marks]
    return [value or mark for mark, value in read if value or not _HEADING.match(mark[1])] or marks


def _stated(mark: tuple[int, str]) -> tuple[int, str] | None:
    """The answer behind the words of a heading, None where it is a heading alone: 'Step 2', 'Case 1: x = 3'."""
    if not _HEADING.match(mark[1]):
        return None
    match = _STATED.fullmatch(mark[1])
    if match is None or _LISTED.match(match["words"]):
        return None
    final = _FINAL.search(match["words"]) is not None
    if not final and re.search(r"(?<!\\)[A-Za-z]{3}|=", match["value"]):  # 'Explanation of 3 steps', 'Check: 12+2=14'
        return None
    if match["sign"] is None:  # 'So 15' is an answer, with a word
        return mark
    return mark if _DENIED.search(match["words"]) else (mark[0] + match.start("value"), match["value"])
