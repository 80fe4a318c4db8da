"""Word problems: each story is read again from its words alone, and solved here."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from evals.scoring.task_files import build
from evals.tasks import Problem, load
from evals.tasks.data.arithmetic_chains import SPLITS
from evals.tasks.data.stories import LARGE, SMALL, Scale, check_steps, draw_story, key_of, read_steps
from evals.tasks.data.story_templates import FAMILIAR, UNSEEN, Theme
from evals.tasks.word_problems import PROMPT, WordProblems

# What a sentence does to the quantity x, read by hand from its words.
READ: dict[str, Callable[..., float]] = {
    r"\w+ has (\d+) \w+ of (\d+) \w+\.": lambda x, a, b: a * b,
    r"\w+ gets (\d+) \w+ a day for (\d+) days\.": lambda x, a, b: a * b,
    r"\w+ has (\d+) \w+ and finds (\d+) more\.": lambda x, a, b: a + b,
    r"\w+ has (\d+) \w+, and \w+ has (\d+) times as many\.": lambda x, a, b: a * b,
    r"\w+ gives \w+ (\d+) more\.": lambda x, c: x + c,
    r"\w+ gives (\d+) of the \w+ to \w+\.": lambda x, c: x - c,
    r"Then \w+ loses (\d+) \w+\.": lambda x, c: x - c,
    r"\w+ puts all the \w+ equally into (\d+) \w+ and keeps only one of the \w+\.": lambda x, k: x / k,
    r"A year later \w+ has (\d+) times as many\.": lambda x, k: x * k,
    r"\w+ buys (\d+) more \w+ of (\d+) \w+\.": lambda x, a, b: x + a * b,
    r"\w+ gives (\d+) \w+ to each of (\d+) friends\.": lambda x, b, a: x - a * b,
    r"\w+ sells all of the \w+ for (\d+) dollars each\.": lambda x, k: x * k,
    r"\w+ shares all of the \w+ equally among (\d+) friends\.": lambda x, k: x / k,
    r"\w+ earns (\d+) dollars an hour and works (\d+) hours\.": lambda x, a, b: a * b,
    r"Next, \w+ pays (\d+) dollars for a ticket\.": lambda x, c: x - c,
    r"An aunt sends (\d+) dollars\.": lambda x, c: x + c,
    r"Lunch for (\d+) people at (\d+) dollars a head is on \w+\.": lambda x, a, b: x - a * b,
    r"All of it goes into (\d+) equal gifts\.": lambda x, k: x / k,
    r"A train runs for (\d+) hours at (\d+) miles an hour\.": lambda x, a, b: a * b,
    r"From there \w+ walks (\d+) miles further\.": lambda x, c: x + c,
    r"The trip back is shorter by (\d+) miles, and only it counts\.": lambda x, c: x - c,
    r"A bus then takes \w+ on, (\d+) hours at (\d+) miles an hour\.": lambda x, a, b: x + a * b,
    r"Somebody else does the same distance in (\d+) equal days\.": lambda x, k: x / k,
}
PINNED = {  # of the problems of each set: nothing may move them
    "train": "69be4102c3652921",
    "selection": "8378a9c4ca6398b9",
    "word_problems": "d7e4124fb06b3cdc",
    "word_problems_longer": "893cd77fa82ed61c",
    "word_problems_larger": "861292b72ced0b37",
    "word_problems_unseen": "cbf3429d99ce1568",
    "sorting": "d71e935591a8e348",
}
TASK = WordProblems(train_size=200, test_size=60, other_size=40)


def digest(problems: Sequence[Problem]) -> str:
    return sha256("\n".join(f"{p.id} {p.prompt} {p.gold}" for p in problems).encode()).hexdigest()[:16]


def read(text: str) -> float:
    """The answer to a story, from its sentences."""
    *sentences, _question = re.findall(r"[^.?]+[.?]", text)
    x = 0.0
    for sentence in sentences:
        found = [(does, m) for how, does in READ.items() if (m := re.fullmatch(how, sentence.strip()))]
        assert len(found) == 1, sentence
        does, match = found[0]
        x = does(x, *map(int, match.groups()))
        assert x >= 1 and x == int(x), f"{x} after {sentence!r}"
    return x


def drawn() -> dict[str, Sequence[Problem]]:
    return {"train": TASK.train(), "selection": TASK.selection(), **{s.name: s.problems for s in TASK.eval_sets()}}


def test_the_first_problems_are_what_they_always_were() -> None:
    found = drawn()
    assert found.pop("word_problems_t1") == found["word_problems"]
    assert {name: digest(problems) for name, problems in found.items()} == PINNED
    assert TASK.train(1) == TASK.train(0) and TASK.notices() == []


@pytest.mark.parametrize("themes", [FAMILIAR, UNSEEN], ids=["familiar", "unseen"])
@pytest.mark.parametrize("scale", [SMALL, LARGE], ids=["small", "large"])
def test_each_story_is_solved_rightly_and_stays_whole(themes: tuple[Theme, ...], scale: Scale) -> None:
    rng = random.Random(7)
    for steps in (1, 2, 3, 4, 5, 6) * 40:
        story = draw_story(rng, steps, scale, themes)
        *lines, last = story.solution.split("\n")
        known = {int(n) for n in re.findall(r"\d+", story.text)}
        assert len(lines) == steps and last == f"#### {read(story.text):.0f}"
        for line in lines:
            (equation,) = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+) [\w ]+\.$", line)
            left, op, right, result = equation
            assert eval(f"{left} {op} {right}") == int(result) <= scale.most  # noqa: S307  digits and one sign
            assert {int(left), int(right)} <= known
            known.add(int(result))
        assert check_steps(story.text, story.solution) == [True] * steps
        assert "{" not in story.text + story.solution


def test_splits_are_disjoint_and_a_problem_in_another_dress_stays_in_its_split() -> None:
    found = drawn()
    tests = {p.id for name, problems in found.items() if name not in ("train", "selection") for p in problems}
    train, selection = ({p.id for p in found[name]} for name in ("train", "selection"))
    assert len(train) == 200 and len(selection) == 60 and not train & selection and not (train | selection) & tests
    by_equations: dict[str, set[str]] = {}
    rng = random.Random(0)
    for _ in range(3000):
        story = draw_story(rng, 1)
        by_equations.setdefault(story.canonical, set()).add(story.text)
        assert story.split in SPLITS
    assert max(map(len, by_equations.values())) > 20  # many dresses, one name, hence one split


def test_sets_are_what_they_are_called() -> None:
    found = drawn()

    def steps(name: str) -> set[int]:
        return {len(read_steps(p.source)) for p in found[name]}

    assert steps("train") == steps("word_problems") == {2, 3, 4} and steps("word_problems_longer") == {5, 6}
    inside = " ".join(p.prompt for name in ("train", "word_problems", "word_problems_longer") for p in found[name])
    assert not re.search("dollars an hour|miles", inside)
    assert all(re.search("dollars|miles", p.prompt) for p in found["word_problems_unseen"])
    assert all(max(map(int, re.findall(r"\d+", p.prompt))) > 9 for p in found["word_problems_larger"])
    assert [s.domain for s in TASK.eval_sets(1)] == ["in", "in", "out", "out", "out", "retention"]
    five = WordProblems(steps_drawn=(5,), train_size=5, test_size=5, other_size=5)
    assert "word_problems_longer" not in {s.name for s in five.eval_sets()} and "5 steps" in five.notices()[0]


def test_the_verifier_and_the_written_solutions() -> None:
    for problem in TASK.train()[:50]:
        solution = TASK.solution(problem)
        assert solution and TASK.verify(problem, solution, True).strict == "correct"
        assert TASK.verify(problem, f"#### {int(problem.gold) + 1}", True).strict == "wrong"
        steps = TASK.steps(problem, solution)
        assert steps and all(s.right and solution[: s.end].endswith(tuple("0123456789")) for s in steps)
    assert TASK.steps(TASK.eval_sets(1)[-1].problems[0], "1 2 3\n#### 3") is None


STORY = "Tom has 3 boxes of 4 apples. Tom loses 5 apples. Mia gives Tom 9 more. How many?"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("3 * 4 = 12\n12 - 5 = 7\n7 + 9 = 16\n#### 16", [True, True, True]),
        ("4*3=12, 9+12=21, 21-5=16 #### 16", [True, True, True]),  # another order
        ("3 * 4 = 13\n13 - 5 = 8\n8 + 9 = 17\n#### 17", [False, False, False]),  # a slip, carried on
        ("3 * 4 = 12\n12 - 6 = 6\n6 + 9 = 15\n#### 15", [True, False, False]),  # 6 is nowhere in the problem
        ("9 / 4 = 2\n9 / 3 = 3\n5 / 0 = 0\n#### 3", [False, True, False]),  # whole parts are no quotients
        ("3 + 4 + 5 = 12\n4 - 9 = -5\n#### 12 - 5 = 7", []),  # not of the form, or after the answer
        ("1234567890 * 3 = 12", []),
        ("#### 16", []),
    ],
)
def test_steps_by_hand(text: str, marks: list[bool]) -> None:
    assert check_steps(STORY, text) == marks
    problem = Problem("0", PROMPT.format(question=STORY), "16", " a story's")
    steps = TASK.steps(problem, text)
    assert steps is not None and [s.right for s in steps] == marks
    assert [s.end for s in steps] == [m.end for m in read_steps(text)]


def test_the_key_is_the_list_of_equations() -> None:
    assert key_of("In all Tom has 3 * 4 = 12 apples.\n#### 12") == key_of("3*4=12 #### 12") == "3*4=12"
    assert key_of("4 * 3 = 12") != key_of("3 * 4 = 12")


def test_other_data_sets_are_columns_out_of_domain(tmp_path: Path) -> None:
    file = tmp_path / "gsm.jsonl"
    file.write_text('{"question": "Two and 1/2 of 4?", "answer": "4/2=2, 2+2=4\\n#### 4"}\n')
    task = WordProblems(train_size=5, test_size=5, other_size=5, eval_files={"gsm8k": str(file)})
    sets = {s.name: s for s in task.eval_sets()}
    assert [*sets][-2:] == ["gsm8k", "sorting"] and sets["gsm8k"].domain == "out"
    (problem,) = sets["gsm8k"].problems
    assert problem.prompt == "Two and 1/2 of 4?\nAnswer:" and problem.gold == "4"
    assert task.steps(problem, "2 + 2 = 4") is None and task.solution(problem) is None
    assert task.verify(problem, " 2 + 2 = 4\n#### 4", True).strict == "correct"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"steps_drawn": (2, 7)}, r"task.steps_drawn: must name numbers of steps in 1..6, not \[2, 7\]"),
        ({"steps_drawn": ()}, "task.steps_drawn"),
        ({"test_size": 0}, "task.test_size: must be at least 1, not 0"),
        ({"eval_files": {"sorting": "f"}}, "eval file 'sorting'"),
    ],
)
def test_what_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WordProblems(**fields)  # type: ignore[arg-type]


def test_too_few_problems_are_an_error() -> None:
    with pytest.raises(ValueError, match="different problems there are only .* widen steps_drawn"):
        WordProblems(steps_drawn=(1,), train_size=4000).train()


def test_it_is_a_task_by_name() -> None:
    assert load("word_problems") is WordProblems
    assert isinstance(build(TASK.spec()), WordProblems)
