r"""Unicode -> LaTeX: the digits, fractions, powers and signs that models write, as one plain ASCII notation.

Standard library only.
"""

from __future__ import annotations

import re
import unicodedata

SIGNS = {
    **dict.fromkeys("−–‐‑‒﹣－", "-"),
    **dict.fromkeys("×·⋅∗∙•", r"\cdot "),
    **dict.fromkeys("\xa0\u2007\u2009\u200a\u202f\u3000\u2002\u2003\u2004\u2005", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u00ad", ""),
    **dict.fromkeys("。．", "."),
    **dict.fromkeys("，、﹐", ","),
    **dict.fromkeys("（﹙", "("),
    **dict.fromkeys("）﹚", ")"),
    **dict.fromkeys("º˚∘", "°"),
    **dict.fromkeys("′’ʹ", "'"),
    **{"÷": "/", "⁄": "/", "∕": "/", "∶": ":", "√": r"\surd ", "∛": r"\sqrt[3]", "∞": r"\infty ", "≤": r"\le "},
    **{"≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx "},
    **{"≡": r"\equiv ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "⌀": r"\emptyset "},
    **{"±": r"\pm ", "∓": r"\mp ", "…": r"\ldots ", "∠": r"\angle ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int "},
    **{"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}"},
    **{"→": r"\to ", "⇒": r"\Rightarrow ", "∖": r"\setminus ", "△": r"\triangle ", "∧": r"\land ", "∨": r"\lor "},
    **{"₩": r"\$", "₹": r"\$", "￥": "¥", "％": "%", "＄": "$", "π": r"\pi ", "ϵ": r"\epsilon ", "℃": "°C", "℉": "°F"},
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢₓₐₖ", "0123456789+-()nixak", strict=True))
_SHIFTED = re.compile(f"[{''.join(_RAISED)}]+|[{''.join(_LOWERED)}]+")
_OTHER = re.compile(r"[^\x00-\x7f]")
_VULGAR = re.compile(r"([0-9]?)\s*([¼-¾⅐-⅞↉])")


def ascii_math(text: str) -> str:
    r"""The text with its Unicode mathematics in LaTeX; letters of other alphabets stay what they are.

    >>> [ascii_math(x) for x in ("１８", "10²", "log₂8", "1½", "2√3", "x ≤ −5", "6π", "18 元")]
    ['18', '10^{2}', 'log_{2}8', '1 1/2', '2\\surd 3', 'x \\le  -5', '6\\pi ', '18 元']
    """
    if text.isascii():
        return text
    text = _VULGAR.sub(lambda m: (m[1] + " " if m[1] else "") + unicodedata.normalize("NFKC", m[2]), text)
    text = _SHIFTED.sub(_shifted, text)
    return _OTHER.sub(_plain, text)


def _shifted(match: re.Match[str]) -> str:
    table, sign = (_RAISED, "^") if match[0][0] in _RAISED else (_LOWERED, "_")
    return f"{sign}{{{''.join(table[c] for c in match[0])}}}"


def _plain(match: re.Match[str]) -> str:
    char = match[0]
    if char in SIGNS:
        return SIGNS[char]
    if (digit := unicodedata.decimal(char, None)) is not None:
        return str(digit)
    name = unicodedata.name(char, "")
    if name.startswith("GREEK SMALL LETTER ") or name.startswith("GREEK CAPITAL LETTER "):
        letter = name.split()[-1].lower().replace("lamda", "lambda")
        return f"\\{letter.capitalize() if 'CAPITAL' in name else letter} "
    if char in "\u2044" or "FULLWIDTH" in name or "MATHEMATICAL" in name or "HALFWIDTH" in name:
        return unicodedata.normalize("NFKC", char)
    return char
