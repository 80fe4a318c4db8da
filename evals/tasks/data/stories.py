"""Word problems of several steps, similar to GSM8K: generating, solving them line by line, checking such solutions.

A story is about one quantity, `x`: an opening defines it, each event changes it.  A template has words and equations,
one equation per step, over `x`, the result `y` of the line before, and numbers of its own:

    "{name} buys {a} more {boxes} of {b} {things}."      a*b, then x+y

    Tom has 3 boxes of 4 apples. Tom gives 5 apples to Mia. How many apples does Tom have now?

    In all Tom has 3 * 4 = 12 apples.
    After that Tom has 12 - 5 = 7 apples.
    #### 7

Every number is whole and at least 1.  Two stories with the same equations are one problem, whatever the names, the
things and the order within a sum or a product: `canonical`.  Its hash decides the split, as in `arithmetic_chains.py`,
so that splits are disjoint.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from evals.tasks.data.arithmetic_chains import MARK, PATIENCE, split_of
from evals.tasks.data.story_templates import FAMILIAR, NAMES, THINGS, Template, Theme


@dataclass(frozen=True)
class Scale:
    """The size of a story's numbers: factors and divisors, addends and subtrahends, and the largest result."""

    factor: tuple[int, int]
    addend: tuple[int, int]
    most: int


SMALL = Scale((2, 9), (2, 40), 400)
LARGE = Scale((8, 15), (41, 120), 2000)  # its addends are larger than those of a small story


# ---------------------------------------------------------------- a story


@dataclass(frozen=True)
class Line:
    """One step of a solution.

    >>> Line("In all Tom has", 3, "*", 4, "apples").text
    'In all Tom has 3 * 4 = 12 apples.'
    """

    before: str
    left: int
    op: str
    right: int
    after: str

    @property
    def result(self) -> int:
        return apply(self.left, self.op, self.right)

    @property
    def equation(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.result}"

    @property
    def text(self) -> str:
        return f"{self.before} {self.equation} {self.after}."


@dataclass(frozen=True)
class Story:
    """A problem in words and the lines that solve it."""

    text: str
    lines: tuple[Line, ...]

    @property
    def value(self) -> int:
        return self.lines[-1].result

    @property
    def solution(self) -> str:
        return "\n".join([*(line.text for line in self.lines), f"{MARK}{self.value}"])

    @property
    def canonical(self) -> str:
        """The equations alone, e.g. '3*4,12-5': of a sum or a product, the smaller number first."""
        return ",".join(
            f"{a}{line.op}{b}"
            for line in self.lines
            for a, b in [sorted((line.left, line.right)) if line.op in "+*" else (line.left, line.right)]
        )

    @property
    def split(self) -> str:
        return split_of(self.canonical)


def apply(left: int, op: str, right: int) -> int:
    """Division gives the whole part; `draw_story` and `true` check that a result is exact.

    >>> [apply(12, op, 5) for op in "+-*/"]
    [17, 7, 60, 2]
    """
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // right if right else 0}[op]


def draw_story(rng: random.Random, steps: int, scale: Scale = SMALL, themes: tuple[Theme, ...] = FAMILIAR) -> Story:
    """A random story of `steps` steps.  Raises ValueError after PATIENCE failed draws."""
    for _ in range(PATIENCE):
        theme = rng.choice(themes)
        name, friend = rng.sample(NAMES, 2)
        things, boxes = rng.choice(THINGS)
        words = {"name": name, "friend": friend, "things": things, "boxes": boxes}
        sentences, lines, question = list[str](), list[Line](), theme.question
        while len(lines) < steps:
            kinds = theme.openings if not lines else theme.events
            if lines and len(lines) == steps - 1:
                kinds += theme.endings
            template = rng.choice(kinds)
            new = _instantiate(rng, template, lines[-1].result if lines else 0, scale, words)
            if new is None or len(lines) + len(template.steps) > steps:
                break
            sentences.append(new[0])
            lines += new[1]
            question = template.question or question
        if len(lines) == steps:
            return Story(" ".join([*sentences, question.format(**words)]), tuple(lines))
    raise ValueError(f"task: hardly any story of {steps} steps stays within {scale}")


def _instantiate(
    rng: random.Random, template: Template, x: int, scale: Scale, words: dict[str, str]
) -> tuple[str, list[Line]] | None:
    """A template with numbers: its sentence and its lines; None where one of them is not whole, or out of range."""
    own = {letter: rng.randint(*(scale.addend if letter == "c" else scale.factor)) for letter in "abkc"}
    known, lines = {**own, "x": x}, []
    for before, equation, after in template.steps:
        left, op, right = known[equation[0]], equation[1], known[equation[2]]
        line = Line(before.format(**words), left, op, right, after.format(**words))
        if not 1 <= line.result <= scale.most or (op == "/" and left % right):
            return None
        known["y"] = line.result
        lines.append(line)
    return template.text.format(**words, **own), lines


def stories(
    split: str, seed: int, steps: tuple[int, ...], scale: Scale = SMALL, themes: tuple[Theme, ...] = FAMILIAR
) -> Iterator[Story]:
    """A stream of draws from one split, some of them repeated; the same for the same arguments."""
    rng = random.Random(f"stories/{split}/{seed}/{steps}/{scale}/{len(themes)}")
    while True:
        story = draw_story(rng, rng.choice(steps), scale, themes)
        if story.split == split:
            yield story


# ---------------------------------------------------------------- checking what was written

# Numbers of ten digits or more do not occur in stories.  The lookbehind keeps 2 + 3 + 4 = 9 from being read as
# 3 + 4 = 9.
EQUATION = re.compile(
    r"(?<![\d.,+*/-])(?<![+*/-] )(\d{1,9}) ?([-+*/]) ?(\d{1,9}) ?= ?(\d{1,9})(?!\d)",
)


@dataclass(frozen=True)
class Written:
    """One equation of a completion, and where its text ends."""

    left: int
    op: str
    right: int
    result: int
    end: int

    @property
    def true(self) -> bool:
        """Is the equation true?  5 / 0 and 7 / 2 = 3 are not."""
        if self.op == "/":
            return self.right > 0 and self.left == self.right * self.result
        return self.result == apply(self.left, self.op, self.right)


def read_steps(text: str) -> list[Written]:
    """The equations of a completion, in order, before its final answer."""
    body = text.split(MARK.strip())[0]
    return [Written(int(m[1]), m[2], int(m[3]), int(m[4]), m.end()) for m in EQUATION.finditer(body)]


def check_steps(problem: str, text: str) -> list[bool]:
    """For each equation of `text`: is it true, and are both of its numbers known?

    Known is a number that the problem states, in digits, or the result of an earlier equation that was itself right:
    a line that uses a wrong result is wrong too.  Not checked: whether the step is the one that the story requires, the
    words around it, and how often a number is used; the final answer is verified separately.

    >>> check_steps("Tom has 3 boxes of 4 apples. Tom loses 5 apples.", "3 * 4 = 12, 12 - 5 = 7 #### 7")
    [True, True]
    >>> check_steps("Tom has 3 boxes of 4 apples. Tom loses 5 apples.", "3 * 4 = 13, 13 - 5 = 8 #### 8")
    [False, False]
    >>> check_steps("Tom has 3 boxes of 4 apples. Tom loses 5 apples.", "3 + 4 = 7, 7 - 5 = 2, 6 - 4 = 2")
    [True, True, False]
    """
    known = {int(n) for n in re.findall(r"\d{1,9}", problem)}
    marks = []
    for step in read_steps(text):
        marks.append(step.true and {step.left, step.right} <= known)
        if marks[-1]:
            known.add(step.result)
    return marks


def key_of(text: str) -> str:
    """Two correct solutions with equal keys are the same: the list of equations (2308.01825's criterion)."""
    return ",".join(f"{s.left}{s.op}{s.right}={s.result}" for s in read_steps(text))
