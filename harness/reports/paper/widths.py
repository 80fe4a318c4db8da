"""How wide a text is in Computer Modern, LaTeX's own font: so that a table can be made to fit before it is compiled.

Widths in em of cmr10 (its .tfm file), rounded up; sizes below 10 points are drawn wider in proportion.
"""

from __future__ import annotations

WIDTHS = {
    0.28: ".,:;'il[]()|!/j",
    0.34: "- f",
    0.40: "rst_",
    0.45: "cezI",
    0.50: "0123456789agoq*",
    0.53: "kvxy",
    0.56: "bdhnpuS?J",
    0.73: "wL",
    0.79: "ABCDEFGHKNOPQRTUVXYZ",
    0.84: "m%+=<>#&$",
    1.03: "MW",
}
EM = {char: width for width, chars in WIDTHS.items() for char in chars}
OTHER = 0.84
DRAWN = {10: 1.0, 8: 1.063, 7: 1.139, 5: 1.362}  # of a size in points: its digits against those of cmr10, per em
BOLD = 1.18


def width(text: str, size: int = 8, bold: bool = False) -> float:
    """In TeX points.

    >>> round(width("95.8"), 1)
    15.1
    """
    return sum(EM.get(char, OTHER) for char in text) * size * DRAWN[size] * (BOLD if bold else 1.0)
