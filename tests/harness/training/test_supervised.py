"""Runs whose completions are written: SFT's, of a small model; what is left out; and what is never spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from evals.tasks.arithmetic import Arithmetic
from evals.tasks.data.arithmetic_chains import ENDTHINK, THINK
from evals.tasks.qa import QuestionAnswer
from harness.accounting.budget import UNITS, Budget, check_spent
from harness.config.run_config import resolve
from harness.training.completions import WrittenSolutions
from harness.training.setup import PreparedRun, prepare
from tests.harness.tiny_models import SETTINGS, SIZES, plain_logp, real_rows
from tests.harness.training.test_run import PART, RECORD, Done, check_type, go, load, same_weights
from tests.helpers import close

LONG = "max_new_tokens=56"  # what a derivation needs; the profile's 8 are too few
END = "eval_fractions=1"


def sft(model: Path, out: Path, name: str, *settings: str, **flags: Any) -> Done:
    return go(model, out, name, LONG, END, *settings, algo_name="sft", eval_limit=1, **flags)


def prepared(model: Path, out: Path, *settings: str, **flags: Any) -> PreparedRun:
    asked = {"model": str(model), "out": str(out), "algo_name": "sft", **flags}
    sizes = [] if "task_name" in flags else SETTINGS
    return prepare(resolve(asked, [*sizes, *settings], None))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dataset")


@pytest.fixture(scope="module")
def base(taught: Path, out: Path) -> Done:
    """Six rounds of four: one and a half times round the 16 problems."""
    return sft(taught, out, "base", budget="prompts=24")


# ---------------------------------------------------------------- solutions


def test_arithmetics_solutions_are_correct_for_the_judge() -> None:
    task = Arithmetic(train_size=300)
    for problem in task.train():
        text = task.solution(problem)
        assert text is not None and text == task.solution(problem)
        assert text.startswith(THINK) and ENDTHINK in text
        assert task.verify(problem, text, True).strict == "correct"
        steps = task.steps(problem, text)
        assert steps and all(step.right for step in steps)
    sorting = next(s for s in task.eval_sets(1) if s.name == "sorting")
    assert task.solution(sorting.problems[0]) is None


QA_ROWS = [
    {"question": "Two and three?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
    {"question": "Two and four?", "answer": "6"},
    {"question": "Two and five?", "answer": "So \\boxed{7}."},
    {"question": "Two and six?", "answer": "2 + 6 is 1 + 7, which is 0 + 8, and that is 8, as everybody knows #### 8"},
]


@pytest.fixture
def questions(tmp_path: Path) -> dict[str, Any]:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in QA_ROWS))
    test.write_text(json.dumps({"question": "Nine?", "answer": "#### 9"}) + "\n")
    fields = {"train_file": str(train), "test_file": str(test), "selection_percent": 0, "instruction": "{question}"}
    return {"task_name": "qa", "task": fields}


def test_a_row_with_its_answer_alone_has_no_solution(questions: dict[str, Any]) -> None:
    task = QuestionAnswer(**questions["task"])
    first, bare, boxed, _ = task.train()
    assert task.solution(first) == " 2 + 3 = 5\n#### 5"
    assert task.solution(bare) is None
    assert task.solution(boxed) == " So \\boxed{7}."


def test_what_has_no_solution_or_too_long_a_one_is_left_out_and_counted(
    taught: Path, out: Path, questions: dict[str, Any]
) -> None:
    run = prepared(taught, out, "max_new_tokens=24", **questions)
    assert [p.gold for p in run.trainer.prompt_stream.problems] == ["5", "7"]
    assert run.record["notices"][-2:] == [
        "1 of 4 training problems left out: they have no written solution",
        "1 of 4 training problems left out: they have a solution that no longer fits max_new_tokens=24",
    ]


def test_a_solution_of_just_the_limit_fits(taught: Path, out: Path) -> None:
    task, tokenizer = Arithmetic(**SIZES), AutoTokenizer.from_pretrained(taught)
    lengths = sorted(len(tokenizer(task.solution(p))["input_ids"]) + 1 for p in task.train())
    limit = lengths[7]
    run = prepared(taught, out, f"max_new_tokens={limit}")
    assert len(run.trainer.prompt_stream.problems) == sum(n <= limit for n in lengths) < 16
    with pytest.raises(ValueError, match="none fits") as said:
        prepared(taught, out, f"max_new_tokens={lengths[0] - 1}")
    assert "\n" not in str(said.value)


# ---------------------------------------------------------------- a round


def test_a_round_reads_the_solutions(taught: Path, out: Path) -> None:
    """Behind their prompts, ended, with the log-probabilities that the policy gives them: the model's own, whatever
    the temperature that other arms sample at."""
    trainer = prepared(taught, out, LONG, "temperature=0.7").trainer
    assert isinstance(trainer.completions, WrittenSolutions)
    explored = trainer.collect_rollouts(4)
    r, tokenizer, task = explored.rollouts, AutoTokenizer.from_pretrained(taught), Arithmetic(**SIZES)
    problems = trainer.prompt_stream.take(0, 4)
    assert [p.id for p in explored.problems] == [p.id for p in problems]
    assert (
        r.finished_N is not None and r.reward_N is not None and r.finished_N.all() and r.reward_N.tolist() == [1.0] * 4
    )
    assert r.group_N.tolist() == [0, 1, 2, 3] and r.entropy_NT is None
    for i, (row, start) in enumerate(real_rows(r)):
        prompt = tokenizer(problems[i].prompt)["input_ids"]
        solution = [*tokenizer(task.solution(problems[i]))["input_ids"], tokenizer.eos_token_id]
        assert (row, start) == (prompt + solution, len(prompt))
        logp_TV = plain_logp(load(taught), row, start, 1.0)
        chosen = logp_TV[torch.arange(len(solution)), torch.tensor(solution)]
        close(r.logp_NT[i][r.completion_mask_NT[i]], chosen, rtol=0, atol=1e-5)
    spend = {unit: x for unit, x in trainer.spend.as_dict().items() if x}
    assert spend == {"prompts": 4, "completions": 4, "verifier_calls": 4}


def test_the_prompts_are_every_other_arms(taught: Path, out: Path) -> None:
    grpo, mine = (prepared(taught, out, LONG, algo_name=name).trainer for name in ("grpo", "sft"))
    assert [p.id for p in mine.prompt_stream.take(0, 40)] == [p.id for p in grpo.prompt_stream.take(0, 40)]


# ---------------------------------------------------------------- a run


def test_the_record_and_the_ledger(base: Done, taught: Path) -> None:
    record = base.record
    parts = ("policy", "gradients", "optimizer", "kv_cache", "activations")
    check_type(json.loads((base.folder / "record.json").read_text()), {**RECORD, "memory": {
        "parts": dict.fromkeys(parts, PART)
    }}, "record")  # fmt: skip
    spend, task, tokenizer = record["spend"], Arithmetic(**SIZES), AutoTokenizer.from_pretrained(taught)
    drawn = base.run.trainer.prompt_stream.take(0, 24)
    own = [len(tokenizer(task.solution(p))["input_ids"]) + 1 for p in drawn]
    whole = [len(tokenizer(p.prompt)["input_ids"]) + n for p, n in zip(drawn, own, strict=True)]
    assert (spend["prompts"], spend["completions"], spend["verifier_calls"], spend["updates"]) == (24, 24, 24, 6)
    assert (spend["generated_tokens"], spend["trained_tokens"]) == (0, sum(own))
    close(spend["flops"], 3 * base.run.trainer.flops.policy.read(whole))
    assert record["checks"]["first_update_max_abs_logratio"] < 1e-5
    assert record["config"]["schedule"]["source"] == "dataset" and record["config"]["schedule"]["group_size"] == 1


def test_it_learns_to_write_them(base: Done) -> None:
    losses = [line["loss"] for line in base.lines]
    assert len(losses) == 6 and losses[-1] < losses[0]
    for line in base.lines:
        assert line["accuracy/strict"] == line["completions/kept"] == 1.0 and line["completions/clipped_ratio"] == 0
    samples = [json.loads(line) for line in (base.folder / "samples.jsonl").read_text().splitlines()]
    assert all(s["completion"].startswith(THINK) and s["verdict"] == "correct" for s in samples)


def test_the_reward_is_not_asked_what_to_learn(base: Done, taught: Path, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "never.py"
    file.write_text("def never(problem, completion, verdict):\n    return 0.0\n")
    assert same_weights(sft(taught, out, "never", budget="prompts=24", reward=f"{file}:never"), base)


def test_micro_batches_change_nothing_but_rounding(base: Done, taught: Path, out: Path) -> None:
    small = sft(taught, out, "small", "micro_batch_tokens=40", budget="prompts=24")
    for mine, theirs in zip(small.lines, base.lines, strict=True):
        close(mine["loss"], theirs["loss"], rtol=1e-4, atol=1e-5)
        assert mine["spend/flops"] == theirs["spend/flops"]


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("budget", ["prompts=10", "completions=10", "trained_tokens=400", "updates=3", "flops=1e8"])
def test_a_budget_in_each_unit(taught: Path, out: Path, budget: str) -> None:
    done = sft(taught, out, budget, budget=budget)
    unit, _, limit = budget.partition("=")
    spend = done.record["spend"]
    one = {"trained_tokens": 56.0, "flops": done.run.trainer.flops.update([80])}.get(unit, 0.0)
    assert abs(spend[unit] - float(limit)) <= max(0.01 * float(limit), one)
    assert spend["updates"] > 0 and spend["generated_tokens"] == 0


def test_a_budget_that_is_never_spent_is_refused() -> None:
    for unit in UNITS:
        for source in ("live", "start", "dataset"):
            budget = Budget(unit, 9)
            if (unit, source) == ("generated_tokens", "dataset"):
                with pytest.raises(ValueError, match="budget: .*generated_tokens.*valid: prompts"):
                    check_spent(budget, source)
            else:
                assert check_spent(budget, source) == budget


# ---------------------------------------------------------------- completions of a file


def traces(folder: Path, count: int = 4, right: bool = False) -> Path:
    """Training problems with steps of which the second is annotated."""
    rows = []
    for problem in Arithmetic(**SIZES).train()[:count]:
        second = {"text": "2+2=5,", "right": right}
        rows.append(
            {"prompt": problem.prompt, "steps": [f"{THINK}1+1=2,", second, f"1+0=1{ENDTHINK}#### {problem.gold}"]}
        )
    file = folder / f"traces-{right}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_round_reads_the_completions_of_a_file(taught: Path, out: Path, tmp_path: Path) -> None:
    file = traces(tmp_path)
    run = prepared(taught, out, LONG, f"data={file}")
    collected = run.trainer.collect_rollouts(4)
    wanted = {f"{THINK}1+1=2,2+2=5,1+0=1{ENDTHINK}#### {p.gold}" for p in Arithmetic(**SIZES).train()[:4]}
    assert set(collected.texts) == wanted and len(run.trainer.prompt_stream.problems) == 4
    assert "data" in run.record["environment"]["inputs"]
    assert collected.rollouts.reward_N is not None
    assert collected.rollouts.reward_N.tolist() == [1.0] * 4, "the task's verifier reads them with the task's gold"


def test_tokens_of_a_step_that_is_annotated_as_wrong_have_coefficient_0(
    taught: Path, out: Path, tmp_path: Path
) -> None:
    fields = ["algo.wrong_steps=mask", "reward=process-rule", f"data={traces(tmp_path)}"]
    trainer = prepared(taught, out, LONG, *fields).trainer
    rollouts = trainer.collect_rollouts(4).rollouts
    credit, tokenizer = trainer.algo.credit(rollouts), AutoTokenizer.from_pretrained(taught)
    width = rollouts.completion_mask_NT.shape[1]
    for row, mask, worth in zip(rollouts.tokens_NS, rollouts.completion_mask_NT, credit.advantage_NT, strict=True):
        tokens, worth = row[-width:][mask], worth[mask]
        learned, left = (tokenizer.decode(tokens[worth == x]) for x in (1, 0))
        assert left.strip() == "2+2=5," and learned.startswith(f"{THINK}1+1=2,1+0=1{ENDTHINK}####")
    assert bool(credit.keep_N.all())


def test_an_annotation_that_says_right_masks_nothing(taught: Path, out: Path, tmp_path: Path) -> None:
    masked = ("algo.wrong_steps=mask", "reward=process-rule")
    file = traces(tmp_path, right=True)
    one = sft(taught, out, "annotated", f"data={file}", *masked, budget="updates=2")
    assert same_weights(one, sft(taught, out, "plain", f"data={file}", budget="updates=2"))
    other = sft(taught, out, "wrong", f"data={traces(tmp_path)}", *masked, budget="updates=2")
    assert not same_weights(one, other)


DATA_REFUSED = [
    ({"algo_name": "grpo"}, ["data=x.jsonl"], "data: grpo samples its completions"),
    ({}, ["data=nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ({}, ["data_completion={x}"], "data_completion: it is written from the columns of a file"),
    ({}, ["algo.wrong_steps=mask"], "reward: this algorithm needs rewards of steps"),
]


@pytest.mark.parametrize(("flags", "settings", "says"), DATA_REFUSED)
def test_data_that_cannot_be_used_is_refused(
    flags: dict[str, Any], settings: list[str], says: str, taught: Path, out: Path
) -> None:
    with pytest.raises(ValueError) as said:
        prepared(taught, out, *settings, **flags)
    assert says in str(said.value) and "\n" not in str(said.value)
