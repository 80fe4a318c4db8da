r"""math-verify's comparison of two answers, with what it must not be asked.

It runs in the worker and decides what `answers/` cannot read: sums, integrals, limits, set differences, arithmetic of
matrices.  Around it stand checks for what it gets wrong:

- it takes numbers for equal that agree to 6 digits: asked for 15;
- it drops words, unknown commands, primes, sides of a chain: an answer with any that the gold has not is different;
- it may compute a power or a factorial for hours: such an answer is different.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Compare = Callable[[str, str], bool]

LONGEST, NESTED = 400, 30  # characters of an answer, and brackets within brackets

_WORDS = re.compile(r"\\text\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_NAMES = """
frac sqrt surd binom sum prod int iint iiint oint lim infty to pm mp cdot times div le ge ne in notin cup cap setminus
subset subseteq emptyset mathbb text begin end partial nabla det gcd lcm max min bmod pmod lfloor rfloor lceil rceil
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp pi theta alpha beta gamma delta epsilon zeta
eta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega
ldots cdots quad qquad circ prime overline vec mathbf mathrm langle rangle forall exists neg land lor
"""
_KNOWN = set(_NAMES.split())
_SUBSCRIPT = re.compile(r"_\s*\{[^{}]*\}")
_SIGNS = ("'", "=", "<", ">", r"\approx", r"\sim", r"\equiv", r"\le", r"\ge", r"\ne")
_HUGE = re.compile(  # 9^9999, 9**9**9, 9999!, 9!!, 1e9999
    r"(?<![0-9.])(?:[2-9]|[0-9]{2,})[\s)}]*(?:\^|\*\*)[\s{(]*(?:-?[0-9]{4}|-?[0-9.]+[\s{}()]*(?:\^|\*\*)[\s{(]*[0-9])"
    r"|[0-9]{4}[\s)}]*!|![\s)}]*!|[0-9][eE][-+]?[0-9]{4}"
)


def load() -> Compare:
    """math-verify's comparison of two answers in plain notation, gold first.

    Its own timeouts are off (they need the main thread; the worker has its own), and so is everything lenient: repair
    of malformed operators, equation splitting, removal of unit words.
    An answer that it cannot parse is not equal; a gold answer that it cannot parse is an error.
    """
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped]

    plain = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=False, nits=False, boxed="none", equations=False
    )
    config = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=plain)

    def read(text: str) -> list[Any]:
        return parse(
            f"${tex(text)}$", [config], fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None
        )

    def compare(gold: str, answer: str) -> bool:
        if not comparable(gold, answer):
            return False
        read_gold = read(gold)
        if not read_gold:
            raise ValueError("math-verify cannot parse the gold answer")
        read_answer = read(answer)
        digits = {"float_rounding": 15, "numeric_precision": 30}
        return bool(read_answer) and verify(read_gold, read_answer, timeout_seconds=None, raise_on_error=True, **digits)

    return compare


def comparable(gold: str, answer: str) -> bool:
    r"""May math-verify be asked about the answer?

    >>> comparable("x^2", "9**9**9"), comparable("1", r"1\text{ or }2"), comparable("1", r"\sum_{k=0}^1 k")
    (False, False, True)
    """
    if len(answer) > LONGEST or _depth(answer) > NESTED or (_HUGE.search(answer) and not _HUGE.search(gold)):
        return False
    ours, theirs = (_SUBSCRIPT.sub("_", text) for text in (gold, answer))  # the = of \\sum_{k=1} is no side
    if any(theirs.count(sign) != ours.count(sign) for sign in _SIGNS):
        return False
    if not set(_COMMAND.findall(answer)) <= _KNOWN | set(_COMMAND.findall(gold)):
        return False
    return {word.strip() for word in _WORDS.findall(answer)} <= {word.strip() for word in _WORDS.findall(gold)}


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest


def tex(text: str) -> str:
    r"""Plain notation as LaTeX, and TeX's short forms in full (they are correct TeX, not malformed).

    >>> print(tex("2*sqrt(3)"), tex("x**2"), tex(r"\frac12"), tex(r"\sqrt3"), tex("60°"))
    2*\sqrt{3} x^2 \frac{1}{2} \sqrt{3} 60^{\circ}
    """
    text = text.replace("$", r"\$").replace("**", "^").replace("°", r"^{\circ}").replace(r"\surd ", r"\sqrt ")
    text = re.sub(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])(pi|sin|cos|tan|log|ln|exp)(?![A-Za-z])", r"\\\1", text)
    text = re.sub(r"\\(frac|sqrt)\s*([0-9A-Za-z])", r"\\\1{\2}", text)
    return re.sub(r"(\\frac\s*\{[^{}]*\})\s*([0-9A-Za-z])", r"\1{\2}", text)
