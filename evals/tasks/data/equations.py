"""The equations of a written solution: two solutions with the same ones are the same (2308.01825)."""

from __future__ import annotations

import re

NUMBER = r"-?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)%?"
TERM = rf"\(*{NUMBER}\)*"
# The lookbehind keeps a match from starting inside a chain: a long 1+1+1+... is scanned once, in linear time.
EQUATION = re.compile(rf"(?<![\d.(+*/-])({TERM}(?:[-+*/]{TERM})+)[ \t]*=[ \t]*(?=({NUMBER}))")
NOTE = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")  # GSM8K's for its calculator: 48/2 = <<48/2=24>>24
SIGNS = str.maketrans("\u00d7\u00f7\u2212$", "*/- ")


def equations(text: str) -> list[str]:
    """Each `a op b ... = c` before the final answer, plain or in a calculator's note; twice in a row counts once.

    >>> equations("She pays 2 x $1.50 = $<<2*1.5=3>>3.00. Then 10 - 3 = 7 #### 7")
    ['2*1.5=3', '10-3=7']
    """
    body = re.sub(r"(?<=[\d)\s])x(?=[\d(\s])", "*", text.split("####")[0].translate(SIGNS))
    body = re.sub(r"(?<=[\d)%])[ \t]*([-+*/])[ \t]*(?=[\d(.-])", r"\1", body)
    matches = [(m.start(), m[1], m[2]) for m in NOTE.finditer(body) if re.search("[-+*/]", m[1])]
    plain = NOTE.sub(lambda m: " " * len(m[0]), body)  # the positions stay
    matches += [(m.start(), m[1], m[2]) for m in EQUATION.finditer(plain)]
    kept: list[str] = []
    for _, left, right in sorted(matches):
        equation = f"{_squeezed(left)}={_squeezed(right)}"
        if equation not in kept[-1:]:
            kept.append(equation)
    return kept


def _squeezed(side: str) -> str:
    """Without spaces, commas of thousands and brackets never closed; 1.50 and .5 as 1.5 and 0.5."""

    def short(m: re.Match[str]) -> str:
        return f"{m[1] or '0'}.{m[2]}".rstrip("0").rstrip(".")

    side = re.sub(r"(?<!\d)(\d*)\.(\d+)", short, re.sub(r"[\s,]", "", side))
    return side.removeprefix("(" * (side.count("(") - side.count(")")))
