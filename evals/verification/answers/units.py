r"""Units: what a number counts or measures, read off the end (or the front) of an answer.

    "15\text{ cm}^2" -> Quantity("15", 1, {cm: 2});  "$3 million" -> Quantity("3", 1000000, {dollar: 1})

Only known units are read: an unknown word stays in the answer, which is then no number.  A unit that the gold answer
has must be the answer's; an answer may leave its unit out, or add one where the gold answer has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from evals.verification.answers.notation import number

Unit = tuple[tuple[str, int], ...]  # (unit, power), sorted

# name: other names.  Plurals in -s are understood.
_TABLE = {
    "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre",
    "nm": "nanometer", "um": "micrometer micron", "dm": "decimeter", "in": "inch inches", "ft": "foot feet",
    "yd": "yard", "mi": "mile", "g": "gram gramme gm", "kg": "kilogram kilo", "mg": "milligram", "lb": "pound lbs",
    "oz": "ounce", "t": "ton tonne", "s": "second sec secs", "ms": "millisecond", "min": "minute mins",
    "h": "hour hr hrs", "day": "", "week": "", "month": "", "year": "yr", "decade": "", "century": "centuries",
    "l": "liter litre L", "ml": "milliliter millilitre mL", "gal": "gallon", "qt": "quart", "pt": "pint", "cup": "",
    "tbsp": "tablespoon", "tsp": "teaspoon", "acre": "", "ha": "hectare",
    "N": "newton", "J": "joule", "kJ": "kilojoule", "W": "watt", "kW": "kilowatt", "V": "volt", "A": "amp ampere",
    "Pa": "pascal", "kPa": "", "Hz": "hertz", "ohm": "", "mol": "mole", "kelvin": "", "cal": "calorie", "kcal": "",
    "kWh": "", "bit": "", "byte": "", "MB": "megabyte", "GB": "gigabyte", "rad": "radian", "degree": "deg degs °",
    "celsius": "°C centigrade", "fahrenheit": "°F", "percent": "% pct percentage", "am": "a.m. a.m", "pm": "p.m. p.m",
    "dollar": "$ usd buck", "cent": "¢", "euro": "€ eur", "pound sterling": "£ gbp", "yen": "¥ jpy", "yuan": "元 rmb",
    "rupee": "₹ rs inr", "won": "₩", "peso": "", "unit": "",
}  # fmt: skip
# What is counted.  Read in LaTeX text alone: `#### 14 apples` is prose.
_NOUNS = """
apple orange banana pear egg cookie cake pizza slice candy candies piece box boxes bag basket bottle jar can pack
packet book page letter word stamp card coin penny nickel dime quarter ticket pen pencil crayon marble ball toy
block tile brick stone tree flower rose plant seed leaf leaves animal dog cat cow pig chicken duck fish bird horse
sheep rabbit frog bee person people man men woman women child children boy girl student teacher worker friend player
member team family families class classes room house car bus truck bike train boat plane wheel seat table chair game
match point goal run score vote way method possibility possibilities arrangement permutation combination outcome
choice case solution root value number integer digit factor divisor multiple prime term element subset set pair
triple function polynomial side edge vertex vertices face corner diagonal angle line segment ray square triangle
circle rectangle polygon cube sphere rod step stair floor level lap trip round time shirt shoe sock hat dress
sandwich sandwiches meal serving glass glasses drink muffin donut doughnut cupcake burger gift present song movie
episode photo picture problem question answer test lesson paper sheet sticker color colour shape row column group
item object thing
"""
_COUNTED = set(_NOUNS.split())
_QUALIFIERS = {"different", "distinct", "total", "whole", "positive", "possible", "ordered", "old", "us", "u.s", "more"}
_FACTORS = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_WHOLE = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "fps": "ft/s", "cc": "cm^3"}
_MONEY = {"$": "dollar", r"\$": "dollar", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee", "₩": "won"}
_ALIASES = {alias: name for name, aliases in _TABLE.items() for alias in (name, *aliases.split())}
_TOKEN = re.compile(
    r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+|\\%|\^\s*\{\s*-?[0-9]\s*\}|\^-?[0-9]|°[CF](?![A-Za-z])|[^\W\d_]+(?:\.[a-z](?![a-z])\.?)?"
    r"|[0-9]+|\s+|\S"
)
_PART = re.compile(r"\^\{?\s*(-?[0-9])\s*\}?|[/]|°[CF]?|[^\W\d_]+(?:\.[a-z]\.?)?|[%$¢€£¥₹₩]")
_BODY_END = re.compile(r"(?:[0-9})!\]|.]|\\pi|\\infty|[A-Za-z])\s*$")
LONGEST_UNIT = 14  # tokens


@dataclass(frozen=True)
class Quantity:
    """A value and what it is of."""

    body: str  # the value as it is written
    factor: int = 1  # 1000000 for "3 million"
    unit: Unit = ()  # () where none is given


@lru_cache(4096)
def quantity(text: str) -> Quantity:
    r"""An answer, in plain notation, without its unit.

    >>> quantity(r"10\text{ m/s}"), quantity(r"14\text{ no wait 15}").body
    (Quantity(body='10', factor=1, unit=(('m', 1), ('s', -1))), '14\\text{ no wait 15}')
    """
    body = text
    unit: Unit = ()
    if money := re.match(r"([-+]?)\s*(\\?\$|[€£¥₹₩])\s*(?=[-+]?[0-9.])", text):
        body, unit = money[1] + text[money.end() :], ((_MONEY[money[2]], 1),)
    elif money := re.search(r"(?<=[0-9])\s*(\\?\$|[€£¥₹₩])$", text):
        body, unit = text[: money.start()], ((_MONEY[money[1]], 1),)
    tokens = list(_TOKEN.finditer(body))[-LONGEST_UNIT:]
    best = Quantity(body, 1, unit)
    for i in range(len(tokens) - 1, -1, -1):
        if tokens[i][0][0].isdigit() and not re.search(r"\\?[/^]\s*$", body[: tokens[i].start()]):
            break
        rest = body[: tokens[i].start()]
        found = _phrase(body[tokens[i].start() :], rest)
        if found is not None and _ends_value(rest):
            factor, read = found
            if unit and read and read != unit:
                break
            best = Quantity(rest.strip(), factor, read or unit)
    return best


def _ends_value(rest: str) -> bool:
    command = re.search(r"\\([A-Za-z]+)\s*$", rest[-24:])
    return _BODY_END.search(rest[-12:]) is not None and (command is None or command[1] in ("pi", "infty"))


def _phrase(text: str, before: str) -> tuple[int, Unit] | None:
    r"""The factor and unit of a phrase, None where a word in it is unknown."""
    in_text = r"\text" in text
    if not in_text and not _plain_allowed(text, before):
        return None
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text).replace(r"\cdot", " ").replace(r"\%", "%")
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    if "\\" in text or re.search(r"[0-9]", re.sub(r"\^\s*\{?\s*-?[0-9]\s*\}?", "", text)):
        return None
    return unit_of(" ".join(text.split()), in_text)


def _plain_allowed(text: str, before: str) -> bool:
    """Plain words after a number.  One letter is a unit only after a space and a plain number: 5 m, not 5m or x m."""
    if text.lstrip()[:1] == "°" and re.search(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])", before):
        return False  # sin 60° is a number
    if text.lstrip()[:1] in "%°¢元" or text.lstrip().startswith(r"\%"):
        return True
    first = re.match(r"\s*([^\W\d_]+)", text)
    if first is None:
        return False
    plain = number(before.strip()) is not None
    if len(first[1]) == 1:
        return plain and text[0] == " "
    return plain or before.rstrip().endswith((r"\pi", "}", ")"))


@lru_cache(4096)
def unit_of(phrase: str, counted: bool = True) -> tuple[int, Unit] | None:
    """The factor and unit that a phrase names, None where a word of it is unknown.

    >>> unit_of("square feet"), unit_of("miles per hour"), unit_of("million dollars"), unit_of("or 15")
    ((1, (('ft', 2),)), (1, (('h', -1), ('mi', 1))), (1000000, (('dollar', 1),)), None)
    """
    if _PART.sub("", phrase).strip(" .*\u00b7"):  # anything else: a bracket, a comma
        return None
    powers: dict[str, int] = {}
    factor, sign, pending, last = 1, 1, 1, ""
    for part in _PART.finditer(phrase):
        word = part[0].rstrip(".") if part[0] not in _ALIASES else part[0]
        low = word.casefold()
        if part[1] is not None:  # a power of the unit before it
            if not last:
                return None
            powers[last] += (int(part[1]) - 1) * sign
        elif low in ("/", "per", "an", "a", "each", "of", "the"):
            sign = -1 if low in ("/", "per", "each") else sign
            if low in ("an", "a") and not last:
                return None
        elif low in _POWERS:
            if low.endswith("ed"):
                if not last:
                    return None
                powers[last] += (_POWERS[low] - 1) * sign
            else:
                pending = _POWERS[low]
        elif low in _FACTORS and not powers:
            factor *= _FACTORS[low]
        elif low in _QUALIFIERS:
            continue
        elif low in _WHOLE:
            inner = unit_of(_WHOLE[low])
            assert inner is not None
            for name, power in inner[1]:
                powers[name] = powers.get(name, 0) + power * sign
        else:
            known = _known(word, counted)
            if known is None:
                return None
            powers[known] = powers.get(known, 0) + pending * sign
            last, pending = known, 1
    if pending != 1:
        powers["unit"] = powers.get("unit", 0) + pending
    if not powers and factor == 1:
        return None
    return factor, tuple(sorted((name, power) for name, power in powers.items() if power))


def _known(word: str, counted: bool) -> str | None:
    """The name of a unit.  One and two letters are compared as they are; longer words without case and plural."""
    for form in (word, word.casefold()) if len(word) > 1 else (word,):
        if form in _ALIASES:
            return _ALIASES[form]
        if len(form) > 3 and form.endswith("s") and form[:-1] in _ALIASES:
            return _ALIASES[form[:-1]]
    low = word.casefold()
    if counted:
        for form in (low, low.removesuffix("s"), low.removesuffix("es")):
            if form in _COUNTED:
                return "count " + form
    return None


def agree(gold: Unit, answer: Unit) -> bool:
    """May an answer in `answer` be right where the gold answer is in `gold`?

    >>> agree((("cm", 2),), ()), agree((("cent", 1),), (("dollar", 1),)), agree((), (("km", 1),))
    (True, False, True)
    """
    general = any(name == "unit" for name, _ in (*gold, *answer))
    return not gold or not answer or gold == answer or general
