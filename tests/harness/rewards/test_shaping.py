"""The terms of a composed reward, by hand, and what a source with them around it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from algos import Rollouts
from evals.tasks import Problem
from evals.tasks.arithmetic import Arithmetic
from evals.tasks.lookup import Lookup
from evals.tasks.qa import QuestionAnswer
from evals.verification.transcript import Transcript, Turn
from evals.verification.verifier import Verdict
from harness.config.experiment import resolve_experiment
from harness.config.run_config import RunConfig
from harness.rewards.base import JudgedCompletions, RewardSource, score
from harness.rewards.shaping import TERMS, Seen, ShapedReward
from tests.harness.training.test_run import go
from tests.helpers import close

TASK = Arithmetic()
PROBLEM = Problem("x", "12-(5-3)+4=", "14", "12-(5-3)+4")
RIGHT, WRONG = Verdict("correct", "correct", "14"), Verdict("wrong", "wrong", "15")
UNKNOWN = Verdict("verifier_error", "verifier_error", None)


def term(name: str, text: str = "", prompt: str = PROBLEM.prompt, tokens: int = 1, limit: int = 50) -> float:
    return TERMS[name](Seen(TASK, replace(PROBLEM, prompt=prompt), text, RIGHT, tokens, limit))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>5-3=2</think>\n#### 14", 1.0),
        (" <think>5-3=2</think>#### -3 \n", 1.0),  # a wrong answer has the form, too
        ("5-3=2\n#### 14", 0.0),
        ("<think> </think>#### 14", 0.0),  # no reasoning
        ("so <think>5-3=2</think>#### 14", 0.0),
        ("<think>5-3=2</think>#### 14 or so", 0.0),
        ("<think>5-3=2</think>#### 14\n#### 14", 0.0),
        ("<think>5-3=2</think>", 0.0),
        ("<think>5-3=2<think>1+1=2</think>#### 14", 0.0),
    ],
)
def test_form_of_arithmetic(text: str, expected: float) -> None:
    assert term("format", text) == expected


@pytest.mark.parametrize(
    ("format", "text", "expected"),
    [
        ("hash", "2+2=4\n#### 4\n", True),
        ("hash", "#### 4\nor 5", False),
        ("hash", "#### 4\n#### 5", False),
        ("hash", "#### 4\n#### 4.0", True),  # one answer, twice
        ("hash", "<think>2+2</think> #### 4", True),
        ("hash", "#### 4 <think> or 5", False),
        ("hash", "<think>#### 4", False),
        ("hash", "4", False),
        ("boxed", r"so $\boxed{4}$.", True),
        ("boxed", r"so \boxed{4} apples", False),
        ("boxed", r"\boxed{\frac{1}{2}}", True),
        ("answer_is", "The answer is 4.", True),
        ("answer_is", "The answer is 4. Bye", False),
    ],
)
def test_form_of_a_question(format: Any, text: str, expected: bool) -> None:
    assert QuestionAnswer(format=format, train_file="none.jsonl").formatted(text) is expected
    padded = 21_000 * "x " + text  # the judge reads the tail of a text alone
    assert QuestionAnswer(format=format, train_file="none.jsonl").formatted(padded) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5-3=2,12-2=10,10+4=14#### 14", 1.0),
        ("5-3=2,12-2=11,11+4=15#### 15", 1 / 3),
        ("5-3=1#### 14", 0.0),
        ("#### 14", 0.0),
        ("", 0.0),
    ],
)
def test_share_of_right_steps(text: str, expected: float) -> None:
    assert term("steps", text) == expected


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [
        (1, 50, 0),
        (40, 50, 0),
        (41, 50, -0.1),
        (45, 50, -0.5),
        (50, 50, -1),
        (16_384, 20_480, 0),
        (18_432, 20_480, -0.5),
    ],
)
def test_soft_length_penalty(tokens: int, limit: int, expected: float) -> None:
    close(term("length", tokens=tokens, limit=limit), expected)


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        ("What is 2 plus 2?", "two and two", 1.0),
        ("What is 2 plus 2?", "two und два 2", 2 / 3),  # a script is not a language
        ("What is 2 plus 2?", "<think>два</think> \\frac два", 0.0),  # tags and commands are no words
        ("What is 2 plus 2?", "2+2=4", 1.0),
        ("2+2=", "два", 1.0),  # no letter to go by
        ("Сколько будет 2+2 в base ten?", "четыре four", 0.5),
        ("二足す二は?", "答えは4です", 1.0),  # one language, three scripts
        ("What is it?", "ｆｕｌｌ", 1.0),  # letters of another width
    ],
)
def test_words_in_the_prompts_script(prompt: str, text: str, expected: float) -> None:
    assert term("language", text, prompt) == expected


# ---------------------------------------------------------------- around a source

TEXTS = ["<think>5-3=2,12-2=10,10+4=14</think>#### 14", "5-3=2,12-2=11\n#### 15", "#### 14", ""]
ANSWERS = JudgedCompletions([PROBLEM] * 4, TEXTS, [RIGHT, WRONG, RIGHT, UNKNOWN], ordinal=0)


def rollouts(lengths: tuple[int, ...] = (8, 10, 3, 10), group: int = 4) -> Rollouts:
    mask_NT = torch.arange(10) < torch.tensor(lengths)[:, None]
    n = len(lengths)
    return Rollouts(
        tokens_NS=torch.zeros(n, 12, dtype=torch.int64),
        attention_mask_NS=torch.ones(n, 12, dtype=torch.bool),
        completion_mask_NT=mask_NT,
        logp_NT=torch.zeros(n, 10),
        group_N=torch.arange(n) // group,
        finished_N=torch.ones(n, dtype=torch.bool),
    )


WEIGHTS = {"format": 0.5, "length": 0.1, "steps": 0.0, "language": -1.0}


def test_the_reward_is_the_weighed_sum_and_its_terms_are_logged() -> None:
    rated, said = ShapedReward(RewardSource(), {**WEIGHTS, "accuracy": 2.0}, TASK, 10).rate(rollouts(), ANSWERS)
    assert rated.reward_N is not None
    close(rated.reward_N, [2 + 0.5 - 1, -0.1 - 1, 2 - 1, -0.1 - 1], rtol=1e-6)
    means = {"accuracy": 2 / 3, "format": 1 / 3, "length": -1 / 3, "steps": (1 + 1 / 2) / 3, "language": 1.0}
    assert set(said) == {f"reward/{name}" for name in means}
    for name, mean in means.items():  # of the completions that could be judged
        close(said[f"reward/{name}"], mean, rtol=1e-6)


def test_accuracy_is_always_there_and_a_term_that_is_not_named_never(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(seen: Seen) -> float:
        raise AssertionError("not asked for")

    monkeypatch.setattr("harness.rewards.shaping.TERMS", {**TERMS, "steps": never})
    rated, said = ShapedReward(RewardSource(), {"format": 0.0}, TASK, 10).rate(rollouts(), ANSWERS)
    plain, _ = RewardSource().rate(rollouts(), ANSWERS)
    assert rated.reward_N is not None and plain.reward_N is not None
    assert set(said) == {"reward/accuracy", "reward/format"} and torch.equal(rated.reward_N, plain.reward_N)


class Staged(RewardSource):
    """Rewards of steps: 0.5 at token 1, and the verdict at the end."""

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        r, _ = super().rate(rollouts, answers)
        assert r.reward_N is not None
        step_NT = torch.zeros(r.completion_mask_NT.shape)
        step_NT[:, 1] = 0.5
        step_NT[range(4), r.completion_mask_NT.sum(1) - 1] = r.reward_N
        return replace(r, step_reward_NT=step_NT, step_end_NT=step_NT > 0), {"staged": 1.0}


def test_with_rewards_of_steps_other_terms_fall_to_the_last() -> None:
    rated, said = ShapedReward(Staged(), {"accuracy": 2.0, "format": 0.25}, TASK, 10).rate(rollouts(), ANSWERS)
    assert rated.step_reward_NT is not None and said["staged"] == 1.0
    expected_NT = torch.zeros(4, 10)
    expected_NT[:, 1] = 1.0
    expected_NT[0, 7], expected_NT[2, 2] = 2.25, 2.0
    close(rated.step_reward_NT, expected_NT)


def test_what_the_source_keeps_is_kept() -> None:
    class Keeper(RewardSource):
        def modules(self) -> dict[str, Any]:
            return {"m": 1}

        def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
            return {"n": 2}, {}

        def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
            self.was = state

        def begin(self, loop: Any) -> None:
            self.was = loop

        def refresh(self, loop: Any) -> None:
            self.was = loop

    keeper = Keeper()
    composed: Any = ShapedReward(keeper, {}, TASK, 10)
    assert (composed.modules(), composed.state()) == ({"m": 1}, ({"n": 2}, {}))
    for method, words in (("load", (3, {})), ("begin", (4,)), ("refresh", (5,))):
        getattr(composed, method)(*words)
        assert keeper.was == words[0]


def test_score_leaves_verdicts_alone() -> None:
    r, judged = score(
        rollouts(), [PROBLEM] * 4, TEXTS, TASK, ShapedReward(RewardSource(), {"format": 5.0}, TASK, 10), 0
    )
    assert [v.strict for v in judged.verdicts] == ["correct", "wrong", "correct", "unparseable"]
    assert r.reward_N is not None
    close(r.reward_N, [6.0, 0, 1, 0])


# ---------------------------------------------------------------- tools, ends and gates


def test_calls_cost_and_support_pays() -> None:
    """Of a question of two facts: both read, one read, none; and one that needs no search."""
    task = Lookup()
    two, none = (next(p for p in task.train() if p.source["kind"] == kind) for kind in ("two", "none"))
    read = [Turn("search", "q", fact) for fact in two.source["facts"]]
    texts = [Transcript("#### 1", read), Transcript("#### 1", [read[0], read[0], read[0]]), "#### 1"]
    seen = [Seen(task, two, text, None, 3, 9) for text in texts] + [Seen(task, none, "", None, 3, 9)]  # type: ignore[arg-type]
    assert [TERMS["calls"](one) for one in seen] == [-2.0, -3.0, 0.0, 0.0]
    assert [TERMS["support"](one) for one in seen] == [1.0, 0.0, 0.0, 1.0]
    assert [TERMS["end"](replace(one, ended=False)) for one in seen] == [0.0] * 4


def test_a_closed_gate_leaves_nothing() -> None:
    """Right, wrong, right without the form, neither; the third was cut at its limit.  Form 1, 0, 0, 0 (see above)."""
    answers = JudgedCompletions([PROBLEM] * 4, TEXTS, [TASK.verify(PROBLEM, t, True) for t in TEXTS], 0)
    open_ = rollouts()
    ended = replace(open_, finished_N=torch.tensor([True, True, False, True]))
    for gate, expected, share in (
        (("format",), [3, 0, 0, 0], 0.25),
        (("end",), [3, 0, 0, 0], 0.75),
        ((), [3, 0, 1, 0], 0),
    ):
        r, metrics = ShapedReward(RewardSource(), {"format": 2.0}, TASK, 10, gate).rate(ended, answers)
        assert r.reward_N is not None
        close(r.reward_N, expected)
        assert metrics.get("reward/gate", 0) == share and metrics["reward/accuracy"] == 0.5


# ---------------------------------------------------------------- in a run


def test_reward_and_accuracy_part_ways(taught: Path, tmp_path: Path) -> None:
    weights = [f"reward_weights.{name}={weight}" for name, weight in {**WEIGHTS, "accuracy": 0.5}.items()]
    run = go(taught, tmp_path, "x", *weights, "eval_fractions=1", "eval_limit=1", budget="completions=64")
    assert run.record["config"]["reward_weights"] == {**WEIGHTS, "accuracy": 0.5}
    for line in run.lines:
        terms = {name: line[f"reward/{name}"] for name in ("accuracy", *WEIGHTS)}
        close(line["reward"], sum({**WEIGHTS, "accuracy": 0.5}[name] * x for name, x in terms.items()), atol=1e-6)
        close(terms["accuracy"], line["accuracy/strict"], atol=1e-6)
        assert abs(line["reward"] - line["accuracy/strict"]) > 0.1


def test_a_task_that_checks_no_steps_cannot_give_them() -> None:
    with pytest.raises(ValueError, match=r"^reward_weights\.steps: task 'qa' checks no steps; valid: accuracy, calls"):
        resolve_experiment(RunConfig(task_name="qa", reward_weights={"steps": 1.0})).as_dict()
    with pytest.raises(ValueError, match=r"^reward_weights\.style: unknown term; valid: accuracy, .*steps, support$"):
        resolve_experiment(RunConfig(reward_weights={"style": 1.0})).as_dict()
    with pytest.raises(ValueError, match=r"^reward_gate: unknown 'length'; valid: format, end, support"):
        resolve_experiment(RunConfig(reward_gate=("length",))).as_dict()
