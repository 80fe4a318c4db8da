"""Questions about invented facts: their answers, their splits, what is measured of a completion, what lookup reads."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter

import pytest

from evals.tasks.base import Problem
from evals.tasks.facts.invented import ATTRIBUTES, LARGEST, corpus, fact, names
from evals.tasks.lookup import Lookup
from evals.verification.transcript import Transcript, Turn
from harness.models.pretraining.lookup_corpus import LookupMixture, documents

TASK = Lookup()
NAME = re.compile(r"\b[bdfklmnprtvz](?:ab|el|im|or)[bdfklmnprtvz](?:ab|el|im|or)\b")


def asked(problem: Problem) -> int:
    """The answer, worked out anew from the words of the question."""
    text = problem.prompt
    if found := re.fullmatch(r"What is (\d+) (plus|minus) (\d+)\?", text):
        return int(found[1]) + (1 if found[2] == "plus" else -1) * int(found[3])
    if found := re.fullmatch(r"The (\w+) of (\w+) is (\d+)\. What is the \1 of \2\?", text):
        return int(found[3])
    found = re.fullmatch(r"What is the (\w+) of (\w+)(?: (plus|minus) the (\w+) of (\w+))?\?", text)
    assert found, text
    first = fact(found[1], found[2]).value
    if not found[3]:
        return first
    return first + (1 if found[3] == "plus" else -1) * fact(found[4], found[5]).value


def test_gold_answers_are_what_the_corpus_says() -> None:
    texts = set(TASK.corpus())
    for problem in [*TASK.train(), *(p for s in TASK.eval_sets() for p in s.problems)]:
        assert problem.gold == str(asked(problem)) and 0 <= int(problem.gold) <= 2 * LARGEST
        assert set(problem.source["facts"]) <= texts and json.loads(json.dumps(problem.source)) == problem.source
        assert len(problem.source["facts"]) == {"one": 1, "two": 2, "none": 0}[problem.source["kind"]]


def test_splits_share_no_name() -> None:
    def seen(problems: list[Problem]) -> set[str]:
        return {name for p in problems for name in NAME.findall(p.prompt)}

    train, chosen = seen([*TASK.train()]), seen([*TASK.selection()])
    test = seen([p for s in TASK.eval_sets() for p in s.problems])
    read = {n for prompt, _ in itertools.islice(documents(0, LookupMixture()), 2000) for n in NAME.findall(prompt)}
    for one, two in itertools.combinations((train, chosen, test, read), 2):
        assert one and two and not one & two
    assert len(list(corpus())) == len(ATTRIBUTES) * sum(len(names(s)) for s in ("train", "selection", "test"))


def test_kinds_are_drawn_by_weight() -> None:
    kinds = Counter(p.source["kind"] for p in TASK.train())
    assert all(600 < n < 2000 for n in kinds.values())  # sums are few: a repeated one is left out
    assert {p.source["kind"] for p in Lookup(one=0, none=0, train_size=50).train()} == {"two"}
    for s in TASK.eval_sets()[2:]:
        assert {p.source["kind"] for p in s.problems} == {s.name.removeprefix("lookup_")}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"one": -1}, "weights of kinds"),
        ({"one": 0, "two": 0, "none": 0}, "not all 0"),
        ({"test_size": 0}, "at least 1"),
    ],
)
def test_fields_that_cannot_be(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lookup(**fields)  # type: ignore[arg-type]


def measures(problem: Problem, text: str) -> dict[str, float]:
    return dict(TASK.measures(problem, text, TASK.verify(problem, text, True)))


def test_what_is_measured() -> None:
    two, none = (next(p for p in TASK.train() if p.source["kind"] == kind) for kind in ("two", "none"))
    a, b = (Turn("search", "q", text) for text in two.source["facts"])
    right = f"#### {two.gold}"
    assert measures(two, Transcript(right, [a, b])) == {
        "calls": 2, "accuracy_two": 1, "unsupported": 0, "missing": 0,
    }  # fmt: skip
    assert measures(two, Transcript("#### 99", [a, a])) == {
        "calls": 2, "accuracy_two": 0, "unsupported": 1, "missing": 1,
    }  # fmt: skip
    assert measures(two, right) == {"calls": 0, "accuracy_two": 1, "unsupported": 1, "missing": 1}
    assert measures(two, "no answer") == {"calls": 0, "accuracy_two": 0, "missing": 1}
    both = Turn("search", "q", "\n".join(two.source["facts"]))
    assert measures(two, Transcript(right, [both]))["missing"] == 0
    wrote = Transcript(f"{a.result}\n{b.result}\n{right}")
    assert measures(two, wrote)["missing"] == 1, "what the policy writes itself supports nothing"
    assert measures(none, Transcript(f"#### {none.gold}", [a])) == {
        "calls": 1, "accuracy_none": 1, "unsupported": 0, "needless": 1,
    }  # fmt: skip
    assert measures(none, f"#### {none.gold}")["needless"] == 0


def test_an_answer_of_a_tool_is_no_answer() -> None:
    problem = TASK.train()[0]
    said = Transcript("<search>q</search>", [Turn("search", "q", f"#### {problem.gold}")])
    assert TASK.verify(problem, said, True).strict == "unparseable"


# ---------------------------------------------------------------- what the model lookup has read


def test_whether_somebody_searches_does_not_depend_on_the_question() -> None:
    """Shares of documents with a call, by kind; three standard deviations of 4,000 draws."""
    mix, searched, count = LookupMixture(searching=0.3, careless=0.0), Counter[str](), Counter[str]()
    for prompt, pieces in itertools.islice(documents(1, mix), 12_000):
        kind = "two" if " the " in prompt.partition(" the ")[2] and "is" not in prompt[10:] else "other"
        kind = "none" if re.search(r"\d", prompt) else kind
        count[kind] += 1
        searched[kind] += any("<search>" in text for text, _ in pieces)
    assert len(count) == 3
    for kind, n in count.items():
        assert abs(searched[kind] / n - 0.3) < 3 * (0.3 * 0.7 / n) ** 0.5, kind


def test_answers_are_read_and_not_learned() -> None:
    for prompt, pieces in itertools.islice(documents(2, LookupMixture(searching=1.0)), 300):
        text = "".join(t for t, learned in pieces if learned)
        given = [t for t, learned in pieces if not learned]
        assert "<result>" not in text and re.search(r"#### \d+$", text)
        assert len(given) % 3 == 0 and given[::3] == ["<result>"] * (len(given) // 3)
        if not re.search(r"\d", prompt):  # what was found adds up to the answer
            numbers = [int(g.rpartition(": ")[2]) for g in given[1::3]]
            combined = sum(numbers) if " plus " in prompt else numbers[0] - sum(numbers[1:])
            assert text.endswith(f"#### {combined}")
