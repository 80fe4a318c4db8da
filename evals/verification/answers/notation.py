r"""An answer -> one plain notation: Unicode, LaTeX's spacing, fonts and synonyms, and the forms of a number.

    ascii_math (symbols.py)  ->  clean  ->  number, words

`clean` drops markup and keeps meaning: `\text{ cm}` stays (`units.py` reads it), digits are never joined over a plain
space unless they are groups of thousands.  Standard library only; linear in the text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from evals.verification.answers.symbols import ascii_math

LONGEST = 1_000  # characters of an answer; more is not an answer
CACHED = 4096  # answers whose normal forms are remembered: a group gives the same ones again and again

DOLLAR = "\ue000"  # a dollar, as against the mark of mathematics

_NUM = r"(?:(?:[1-9][0-9]{0,2}(?:[, ][0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_MONEY = r"(?:\\?[$€£¥])"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+]?)\s*{_MONEY}?\s*(?P<sign2>[-+]?)\s*
    (?: (?:(?P<whole>[0-9]+)\s+)?(?P<a>{_NUM})\s*/\s*(?P<b>{_NUM})
      | (?P<whole2>[0-9]*)\s*\\frac\s*(?:\{{\s*(?P<c>-?{_NUM})\s*\}}|(?P<c1>[0-9]))
                                \s*(?:\{{\s*(?P<d>{_NUM})\s*\}}|(?P<d1>[0-9]))
      | (?P<n>{_NUM}) )
    \s*(?:\\?%|{_MONEY}|°)?""".replace("[, ]", r"[,\ ]"),
    re.VERBOSE,
)
_KEPT = re.compile(r"\\\$|[%°€£¥]")
_CASES = "(?![A-Za-z])"
_REPLACED = (  # in this order
    (r"\\!\s*", ""),
    (r"\{,\}", ","),
    (r"\\mathbb\s*([A-Z])(?![A-Za-z])", r"\\mathbb{\1}"),
    (r"\\(q?quad)(?=[A-Za-z])", r"\\\1 "),
    (r"\\(?:left|right|big|Big|bigg|Bigg)[lrm]?(?:\.|(?![A-Za-z]))", ""),
    (rf"\\[dtc]frac{_CASES}", r"\\frac"),
    (rf"\\[dt]binom{_CASES}", r"\\binom"),
    (r"(?<!\\)\\[,;: >]", " "),
    (r"~", " "),
    (rf"\s*\^\s*(?:\{{\s*\\circ\s*\}}|\\circ{_CASES}|\{{\s*o\s*\}})|\s*\\degrees?{_CASES}", "°"),
    (
        rf"\\(?:textrm|textbf|textit|textnormal|textsf|texttt|textup|emph|mbox|hbox|mathrm|operatorname){_CASES}\s*\{{",
        r"\\text{",
    ),
    (rf"\\(?:mathbf|mathit|mathsf|boldsymbol|bm|mathop){_CASES}\s*\{{([^{{}}]*)\}}", r"\1"),
    (r"\\text\s*\{\s*(\\?[%$" + DOLLAR + r"])\s*\}", r"\1"),
    (r"\\frac\s*\{\s*(\\text\s*\{[^{}]*\})\s*\}\s*\{\s*(\\text\s*\{[^{}]*\})\s*\}", r"\1/\2"),
    (r"\\text\s*\{\s*([0-9.,/:+-]+|[eix])\s*\}", r"\1"),
    (
        r"\\text\s*\{\s*(" + "|".join(("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp")) + r")\s*\}",
        r"\\\1 ",
    ),
    (rf"\\(?:leq|leqslant|lequiv){_CASES}|<=|=<", r"\\le "),
    (rf"\\(?:geq|geqslant){_CASES}|>=", r"\\ge "),
    (rf"\\neq{_CASES}|!=(?!=)|\\not\s*=", r"\\ne "),
    (rf"\\lt{_CASES}", "<"),
    (rf"\\gt{_CASES}", ">"),
    (rf"\\varnothing{_CASES}", r"\\emptyset "),
    (rf"\\(?:colon|ratio){_CASES}", ":"),
    (rf"\\(?:dots|cdots|dotsc|dotsb){_CASES}|\.\.\.", r"\\ldots "),
    (rf"\\(?:[lr]vert|mid|vert){_CASES}", "|"),
    (rf"\\(?:varpi){_CASES}", r"\\pi "),
    (rf"\\(?:lbrace){_CASES}", r"\\{"),
    (rf"\\(?:rbrace){_CASES}", r"\\}"),
    (rf"\\(?:arc)?(?:tg|ctg){_CASES}", lambda m: m[0].replace("ctg", "cot").replace("tg", "tan")),
    (r"(?<=[0-9)])\s*x\s*(?=10\s*(?:\^|\*\*))", r"\\cdot "),
    (r"(?<!\\)\\[()\[\]]", ""),
)
_RULES = [(re.compile(pattern), replacement) for pattern, replacement in _REPLACED]
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LATEX = re.compile(r"\\(?:begin|end)\s*\{[a-z*]+\}(?:\{[clr|]*\})?|\\[A-Za-z]+")
_FUNCTIONS = re.compile(r"(?<![A-Za-z])(?:sqrt|pi|sin|cos|tan|log|ln|exp)(?![A-Za-z])")
_SPACES = re.compile(r"(?<![0-9.])\s+|\s+(?![0-9.\s])")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2})")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_PLAIN = re.compile(r"-?[0-9]+")
_POLAR = re.compile(r"(?i)yes|no|true|false")


@lru_cache(CACHED)
def number(text: str) -> Fraction | None:
    r"""The exact value of a plain number, None for anything else.

    >>> [str(number(x)) for x in ("1,000", "-$3.50", "18.", "-0", "1 1/2", r"\frac{3}{4}", "50%", "14 apples", "1 8")]
    ['1000', '-7/2', '18', '0', '3/2', '3/4', '50', 'None', 'None']
    """
    match = _NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or (match["sign"] and match["sign2"]):
        return None
    above, below = (
        Fraction(re.sub("[, ]", "", match[a] or match[b] or match[c] or "1"))
        for a, b, c in (("n", "a", "c"), ("b", "d", "d1"))
    )
    if match["c1"]:
        above = Fraction(match["c1"])
    if below == 0:
        return None
    sign = -1 if "-" in match["sign"] + match["sign2"] else 1
    return sign * (int(match["whole"] or match["whole2"] or 0) + above / below)


@lru_cache(CACHED)
def clean(text: str) -> str:
    r"""An answer in plain notation, without its markup: math and bold marks, a box, the final stop.

    >>> [clean(x) for x in (" **14**. ", "$x + 1$", r"\boxed{\dfrac{1}{2}}", r"14\mbox{ cm}^2", "−5", r"10,\!080")]
    ['14', 'x + 1', '\\frac{1}{2}', '14\\text{ cm}^2', '-5', '10,080']
    """
    if _PLAIN.fullmatch(text):
        return text
    text = " ".join(text.split())
    if len(text) > 2 * LONGEST:
        return text[: LONGEST + 1]  # too long to be an answer, and still too long
    text = " ".join(ascii_math(text).split()).replace(r"\$", DOLLAR)
    if r"\begin" not in text:  # a line ends in matrices alone; `\\\\frac` is a slip of escaping
        text = _DOUBLED.sub(r"\\", text)
    if "\\" in text or not text.isalnum():
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
    for _ in range(8):  # as many layers as anyone writes
        before = text
        text = _unwrapped(text)
        if text == before:
            break
    return text.replace(DOLLAR, r"\$")


def _unwrapped(text: str) -> str:
    text = " ".join(text.split()).strip(' *`"').rstrip(".,;:\\ ")
    for marks in ("$$", "$"):
        inner = text[len(marks) : -len(marks)]
        if text == marks + inner + marks and "$" not in inner:
            text = inner
    if "$" in text and text.count("$") % 2 == 0 and len(re.findall(r"\$(?=\s*[-+]?[0-9.])", text)) < text.count("$"):
        text = text.replace("$", " ")  # several formulas; `$18 or $19` are two prices
    if (box := _BOX.match(text)) and text[box.end() :] and closes_at_end(text[box.end() :]):
        text = text[box.end() + 1 : -1]
    if text.startswith("{") and closes_at_end(text):
        text = text[1:-1]
    if (whole := _TEXT.fullmatch(text)) and re.match(r"\s*[-$]?[0-9]", whole[1]):  # \text{14 cm}
        value = re.match(r"\s*[-0-9.,/:$" + DOLLAR + r"]+", whole[1])
        assert value is not None
        rest = whole[1][value.end() :]
        text = value[0].strip() + (f"\\text{{{rest}}}" if rest.strip() else "")
    return text


def closes_at_end(text: str) -> bool:
    """Does the bracket at the front close at the very end?

    >>> closes_at_end("{a{b}}"), closes_at_end("{a}{b}")
    (True, False)
    """
    depth = 0
    for token in re.finditer(r"\\.|[{}]", text):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
            if depth <= 0:
                return depth == 0 and token.end() == len(text)
    return False


@lru_cache(CACHED)
def canonical(text: str, keep_unit: bool = False) -> str:
    r"""One text for all ways to write a number; any other answer as `clean` leaves it.

    With `keep_unit`, for a gold answer, a number keeps its degrees, percent or currency sign (a bare `$` is none).

    >>> canonical("18.0"), canonical("0.75"), canonical("$x+1$"), canonical("Yes."), canonical("90^\\circ")
    ('18', '3/4', 'x+1', '\\text{yes}', '90')
    """
    text = clean(text)
    if _PLAIN.fullmatch(text):
        return str(int(text)) if len(text) <= LONGEST else text
    if _POLAR.fullmatch(text):
        return f"\\text{{{text.lower()}}}"
    value = number(text)
    return text if value is None or (keep_unit and _KEPT.search(text)) else str(value)


def words(text: str) -> str | None:
    r"""The words of an answer that is LaTeX text and nothing else, as they are compared; None for other answers.

    >>> words(r"\text{(C)}"), words(r"\text{Evelyn}"), words("x+1")
    ('c', 'evelyn', None)
    """
    return plain_words(text) if _TEXT.fullmatch(text) else None


def plain_words(text: str) -> str:
    """The text as words are compared: letter case, spaces, brackets and LaTeX's \\text aside.

    >>> plain_words("(Evelyn  Smith)")
    'evelyn smith'
    """
    return " ".join(_TEXT.sub(r"\1", text).split()).strip("() .!*").casefold()


def prose(text: str, letters: int) -> bool:
    r"""Has it a word of that many letters that is neither LaTeX nor a function?

    >>> prose("14 apples", 3), prose("14 cm", 3), prose("14 cm", 2), prose(r"2\pi + sqrt(3)", 2)
    (True, False, True, False)
    """
    bare = _FUNCTIONS.sub(" ", _LATEX.sub(" ", _TEXT.sub(" ", text)))
    return re.search(rf"[^\W\d_]{{{letters}}}", bare) is not None


def squeeze(text: str) -> str:
    """The text without spaces, except between digits: `1 8` is not `18`.

    >>> squeeze("x + 1"), squeeze("1 8")
    ('x+1', '1 8')
    """
    return _SPACES.sub("", text)
