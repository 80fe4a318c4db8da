"""Steps: from characters to tokens, and the rewards that are laid there."""

from __future__ import annotations

from dataclasses import replace

import torch
from transformers import AutoTokenizer

from algos import Rollouts
from evals.tasks.arithmetic import Arithmetic, Problem
from harness.config.start_models import MODELS
from harness.rewards.base import score
from harness.rewards.process import ProcessReward
from harness.rewards.step_alignment import scatter_step_rewards, step_end_tokens, token_of
from tests.harness.tiny_models import letters

SOLUTION = "5-3=2,12-2=10,10+4=14\n#### 14"
PROBLEM = Problem("x", "12-(5-3)+4=", "14", "12-(5-3)+4")


def nano() -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(MODELS / "nano")


def written(*texts: str, cut: int | None = None) -> Rollouts:
    """Completions of one prompt as nano would write them, with an end token unless they are cut."""
    tokenizer = nano()
    rows = [tokenizer(t)["input_ids"] + [tokenizer.eos_token_id] for t in texts]
    rows = [row[:cut] for row in rows]
    width = max(map(len, rows))
    tokens = torch.tensor([[7] + row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return Rollouts(
        tokens_NS=tokens,
        attention_mask_NS=torch.cat([torch.ones(len(rows), 1, dtype=torch.bool), mask], 1),
        completion_mask_NT=mask,
        logp_NT=torch.zeros(mask.shape),
        group_N=torch.zeros(len(rows), dtype=torch.long),
        finished_N=torch.tensor([row[-1] == tokenizer.eos_token_id for row in rows]),
    )


def test_a_step_ends_with_the_token_that_completes_its_text() -> None:
    tokenizer = nano()
    tokens = tokenizer(SOLUTION)["input_ids"]
    for end in (5, 13, 21):  # after 5-3=2, 12-2=10, 10+4=14
        t = token_of(tokenizer, tokens, end)
        assert len(tokenizer.decode(tokens[: t + 1])) >= end > len(tokenizer.decode(tokens[:t]))
        assert tokenizer.decode(tokens[: t + 1], skip_special_tokens=True)[:end] == SOLUTION[:end]


def test_an_end_inside_a_token_belongs_to_that_token_and_one_beyond_the_text_to_the_last() -> None:
    tokenizer = letters()  # two letters a token
    tokens = [5, 6, 7]
    assert [token_of(tokenizer, tokens, end) for end in (1, 2, 3, 4, 5, 6, 7, 99)] == [0, 0, 1, 1, 2, 2, 2, 2]


def test_special_tokens_have_no_characters() -> None:
    tokenizer = nano()
    marked = tokenizer("<think>5-3=2")["input_ids"]
    text = tokenizer.decode(marked, skip_special_tokens=True)
    t = token_of(tokenizer, marked, len(text))
    assert t == len(marked) - 1


def test_the_checkers_marks_lie_at_the_steps_and_the_verdict_at_the_end() -> None:
    texts = [SOLUTION, "5-3=2,12-2=11\n#### 11", "#### 14"]
    r = written(*texts)
    rated, judged = score(r, [PROBLEM] * 3, texts, Arithmetic(), ProcessReward(Arithmetic(), nano()), 0)
    assert rated.step_end_NT is not None and rated.step_reward_NT is not None
    assert rated.reward_N is not None and rated.reward_N.tolist() == [1, 0, 1]
    marks = [row[end].tolist() for row, end in zip(rated.step_reward_NT, rated.step_end_NT, strict=True)]
    assert marks == [[1, 1, 1, 1], [1, 0, 0], [1]]
    last = r.completion_mask_NT.sum(1) - 1
    assert rated.step_end_NT[torch.arange(3), last].all(), "a bare answer is a step too"
    assert judged.metrics == {"steps/right": 4 / 5, "steps/written": 5 / 3}
    assert not rated.step_reward_NT[~rated.step_end_NT].any() and not (rated.step_end_NT & ~r.completion_mask_NT).any()


def test_where_a_step_ends_with_a_cut_completion_the_verdict_stands() -> None:
    tokenizer = nano()
    cut = token_of(tokenizer, tokenizer(SOLUTION)["input_ids"], 13) + 1
    r = written(SOLUTION, cut=cut)
    rated, _ = score(r, [PROBLEM], ["5-3=2,12-2=10"], Arithmetic(), ProcessReward(Arithmetic(), tokenizer), 0)
    assert rated.step_reward_NT is not None and rated.step_end_NT is not None
    assert rated.step_reward_NT[rated.step_end_NT].tolist() == [1, 0]


def test_a_problem_without_steps_has_its_answer_alone() -> None:
    sorting = replace(PROBLEM, prompt="sort 3 1:", gold="3", source=None)
    rated, _ = score(
        written("1 3\n#### 3"), [sorting], ["1 3\n#### 3"], Arithmetic(), ProcessReward(Arithmetic(), nano()), 0
    )
    assert rated.step_end_NT is not None and int(rated.step_end_NT.sum()) == 1


def test_the_later_of_two_steps_in_one_token_stands() -> None:
    r = written("#### 14")
    end_NT, reward_NT = scatter_step_rewards(r, [[0, 0]], [[0.25, 0.5, 1.0]])
    assert end_NT.sum() == 2 and reward_NT[0, 0] == 0.5
    assert step_end_tokens(nano(), r, [[]]) == [[]]
