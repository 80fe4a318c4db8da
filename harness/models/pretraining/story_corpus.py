"""What micro reads before RL: nano's mixture of styles (harness/models/pretraining/arithmetic_corpus.py), of word
problems.

    careful     In all Tom has 3 * 4 = 12 apples.       a sentence a step, all of it right; rare
                After that Tom has 12 - 5 = 7 apples.
                #### 7
    careless    3 * 4 = 14                              equations alone, one slip, carried on to the end
                14 - 5 = 9
                #### 9
    bare        #### 7                                  the commonest; a guess of mixed quality

`harness pretrain micro` trains on this; nothing else imports it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from evals.tasks.data.arithmetic_chains import MARK, draw_sorting
from evals.tasks.data.stories import LARGE, SMALL, Line, Story, apply, draw_story
from evals.tasks.word_problems import PROMPT


@dataclass(frozen=True)
class StoryMixture:
    """Shares and error rates of the corpus.  All are probabilities."""

    careful: float = 0.13
    careless: float = 0.22  # the rest is bare
    bare_right: float = 0.6  # of bare answers after two steps; half of it after more, all of it after one
    bare_drops: float = 0.6  # of wrong bare answers: the last step was overlooked; others are slips
    large: float = 0.10  # numbers as in the set word_problems_larger
    retention: float = 0.10


def slip(rng: random.Random, x: int) -> int:
    """A plausible wrong result near x, never x itself.

    >>> slip(random.Random(0), 1) > 1
    True
    """
    while (y := max(1, x + rng.choice((-10, -2, -1, 1, 2, 10)))) == x:
        pass
    return y


def turned(line: Line, rng: random.Random) -> Line:
    """3 * 4 as 4 * 3, now and then, so that there is more than one way to write a right solution."""
    turn = line.op in "+*" and rng.random() < 0.3
    return replace(line, left=line.right, right=line.left) if turn else line


def careful(story: Story, rng: random.Random) -> str:
    return " " + replace(story, lines=tuple(turned(line, rng) for line in story.lines)).solution


def careless(story: Story, rng: random.Random) -> str:
    """Equations alone with one slip; later steps that use the wrong number carry it on."""
    wrong = rng.randrange(len(story.lines))
    renamed: dict[int, int] = {}
    lines, new = [], 0
    for i, line in enumerate(story.lines):
        left, right = renamed.pop(line.left, line.left), renamed.pop(line.right, line.right)
        new = max(1, apply(left, line.op, right))  # a wrong number may no longer divide, or be too small to take from
        if i == wrong:
            new = slip(rng, new)
        if new != line.result:
            renamed[line.result] = new
        lines.append(f"{left} {line.op} {right} = {new}")
    return " " + "\n".join([*lines, f"{MARK}{new}"])


def bare(story: Story, rng: random.Random, mix: StoryMixture) -> str:
    steps = len(story.lines)
    right = 1.0 if steps == 1 else mix.bare_right if steps == 2 else mix.bare_right / 2
    if rng.random() < right:
        return f" {MARK}{story.value}"
    if rng.random() < mix.bare_drops:
        return f" {MARK}{story.lines[-2].result}"
    return f" {MARK}{slip(rng, story.value)}"


def story_document(rng: random.Random, mix: StoryMixture) -> tuple[str, str]:
    scale = LARGE if rng.random() < mix.large else SMALL
    steps = rng.choices((1, 2, 3, 4, 5, 6), (10, 28, 28, 24, 6, 4))[0]
    while (story := draw_story(rng, steps, scale)).split != "pretrain":
        pass
    prompt, style = PROMPT.format(question=story.text), rng.random()
    if style < mix.careful:
        return prompt, careful(story, rng)
    if style < mix.careful + mix.careless:
        return prompt, careless(story, rng)
    return prompt, bare(story, rng, mix)


def documents(seed: int, mix: StoryMixture) -> Iterator[tuple[str, str]]:
    """An endless stream of (prompt, completion)."""
    rng = random.Random(f"story-mixture/{seed}")
    while True:
        if rng.random() < mix.retention:
            sorting = draw_sorting(rng, "pretrain")
            yield sorting.prompt, sorting.solution
        else:
            yield story_document(rng, mix)
