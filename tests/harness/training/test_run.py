"""Whole runs of a small model, and what their records say."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import harness.training.evaluation
from algos.core.types import Credit, Rollouts
from evals.tasks import Problem
from evals.tasks.arithmetic import Arithmetic
from evals.verification.verifier import Verdict
from harness.cli.console.progress import Progress
from harness.config.rewards import rule
from harness.config.run_config import resolve
from harness.records.recorder import SHOWN
from harness.training import trainer as trainer_module
from harness.training.run import execute
from harness.training.setup import PreparedRun, prepare
from tests.harness.tiny_models import SETTINGS, build, files_of
from tests.helpers import close, tensors

UNITS = {
    "prompts": int,
    "completions": int,
    "generated_tokens": int,
    "trained_tokens": int,
    "updates": int,
    "flops": float,
    "device_seconds": float,
    "verifier_calls": int,
}
SETS = {
    # name -> domain, decoding, problems
    "arithmetic": ("in", "greedy", 16),
    "arithmetic_t1": ("in", "sampled", 16),
    "arithmetic_longer": ("out", "greedy", 4),
    "arithmetic_larger": ("out", "greedy", 4),
    "arithmetic_worded": ("out", "greedy", 4),
    "sorting": ("retention", "greedy", 4),
}
TIMED = ("step_time", "perf/", "mem/", "spend/device_seconds")


class Done:
    """A run that has ended: its record, and what lies in its folder."""

    def __init__(self, run: PreparedRun, record: dict[str, Any]) -> None:
        self.run, self.record, self.folder = run, record, run.folder

    @property
    def lines(self) -> list[dict[str, Any]]:
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What a seed decides: without times and memory."""
        return [{k: v for k, v in line.items() if not k.startswith(TIMED)} for line in self.lines]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return load(self.folder / "checkpoints" / "final").state_dict()

    def scores(self, fraction: float, metric: str = "exact_match") -> dict[tuple[str, str], float]:
        rows = self.record["evals"]
        return {
            (r["task"], r["filter"]): r["value"] for r in rows if r["fraction"] == fraction and r["metric"] == metric
        }


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def go(model: Path, out: Path, name: str, *settings: str, **flags: Any) -> Done:
    asked = {"model": str(model), "out": str(out), "name": name, **flags}
    sizes = [] if "task_name" in flags else SETTINGS
    run = prepare(resolve(asked, [*sizes, *settings], None))
    with Progress(quiet=True) as display:
        return Done(run, execute(run, display))


def same_weights(one: Done, two: Done) -> bool:
    return all(torch.equal(x, two.weights[name]) for name, x in one.weights.items())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def base(taught: Path, out: Path) -> Done:
    """Ten rounds of 4 x 4, evaluated at the start, the middle and the end."""
    return go(taught, out, "base", budget="completions=160")


def test_an_average_over_samples_is_at_every_point_and_changes_nothing_else(taught: Path, out: Path) -> None:
    asked = {"budget": "completions=32", "eval_limit": 4}
    plain = go(taught, out, "plain", **asked)
    done = go(taught, out, "avg", "eval_repeats.arithmetic=3", "eval_batch_size=3", **asked)
    assert same_weights(plain, done)
    own = [r for r in done.record["evals"] if r["task"] == "arithmetic_avg3"]
    mine, theirs = (  # spend has seconds
        [{k: x for k, x in r.items() if k != "spend"} for r in d.record["evals"] if r["task"] != "arithmetic_avg3"]
        for d in (done, plain)
    )
    assert mine == theirs, "another batch, other outcomes"
    by_point = {(r["fraction"], r["metric"]): r for r in own if r["filter"] == "strict"}
    assert {f for f, _ in by_point} == {0, 0.5, 1}
    assert {"avg@3", "stderr_sampling", "stderr_problems"} <= {m for _, m in by_point}
    for point in (0, 0.5, 1):
        average, share = by_point[point, "avg@3"], by_point[point, "exact_match"]
        assert (average["value"], average["n"], share["n"]) == (share["value"], 4, 12)
        parts = [by_point[point, f"stderr_{x}"]["value"] ** 2 for x in ("sampling", "problems")]
        assert average["stderr"] is not None
        close(sum(parts), max(average["stderr"] ** 2, parts[0]))


# ---------------------------------------------------------------- the record


def check_type(value: Any, kind: Any, where: str) -> None:
    if isinstance(kind, dict):
        assert isinstance(value, dict), where
        for name, inner in kind.items():
            assert name in value, f"{where} lacks {name}"
            check_type(value[name], inner, f"{where}.{name}")
    else:
        number = kind is float and type(value) is int
        assert type(value) is kind or number, f"{where} is {value!r}, not of {kind.__name__}"


PHASE = {"seconds": float, "tokens": int, "peak_bytes": int}
PART = {"bytes": int, "how": str}
RECORD = {
    "schema": int,
    "status": str,
    "reason": type(None),
    "algo": str,
    "seed": int,
    "config": dict,
    "config_sha256": str,
    "budget": {"unit": str, "limit": float},
    "spend": UNITS,
    "phases": dict.fromkeys(("rollout", "reward", "annotate", "update", "eval", "checkpoint"), PHASE),
    "memory": {
        "peak_bytes": int,
        "parts": dict.fromkeys(("policy", "reference", "gradients", "optimizer", "kv_cache", "activations"), PART),
    },
    "checks": dict.fromkeys(("self_check_sampler", "self_check_trainer", "first_update_max_abs_logratio"), float),
    "evals": list,
    "environment": {
        "python": str,
        "packages": dict,
        "device": str,
        "threads": int,
        "commit": str,
        "dirty": bool,
        "model": {"name": str, "sha256": str},
        "data": list,
        "prompt_sha256": str,
    },
}
EVAL = {
    "fraction": float,
    "spend": UNITS,
    "task": str,
    "version": str,
    "domain": str,
    "decoding": str,
    "temperature": float,
    "filter": str,
    "metric": str,
    "value": float,
    "stderr": float,
    "n": int,
    "scorer": str,
    "outcomes": str,
}


def test_the_record_has_every_key(base: Done) -> None:
    written = json.loads((base.folder / "record.json").read_text())
    check_type(written, RECORD, "record")
    for row in written["evals"]:
        check_type(row, EVAL, "evals")
    for source in written["environment"]["data"]:
        check_type(source, {"name": str, "sha256": str}, "data")
    assert (written["schema"], written["status"], written["algo"], written["seed"]) == (2, "finished", "grpo", 0)
    assert written["budget"] == {"unit": "completions", "limit": 160}
    assert "critic" not in written["memory"]["parts"]
    assert {part["how"] for part in written["memory"]["parts"].values()} <= {"measured", "computed"}
    assert written["environment"]["packages"]["torch"] == torch.__version__


def test_the_config_is_resolved_to_the_last_field(base: Done, taught: Path) -> None:
    config = base.record["config"]
    from algos.grpo import GRPO
    from harness.config.run_config import RunConfig

    assert set(RunConfig.__dataclass_fields__) <= set(config)
    assert {f.name for f in dataclasses.fields(GRPO)} == set(config["algo"])
    assert (config["lr"], config["prompts"], config["group_size"], config["max_new_tokens"]) == (1e-3, 4, 4, 8)
    assert config["algo"]["kl_coef"] == 0.04 and config["schedule"]["epochs"] == 1
    assert config["sources"]["lr"] == "profile" and config["sources"]["budget"] == "flag"


def test_memory_parts_are_the_tensors_bytes(base: Done, taught: Path) -> None:
    model = load(taught)
    weights = sum(p.numel() for p in model.parameters()) * 4
    parts = {name: part["bytes"] for name, part in base.record["memory"]["parts"].items()}
    assert parts["policy"] == parts["reference"] == parts["gradients"] == weights
    assert parts["optimizer"] == 2 * weights + 4 * len(list(model.parameters()))
    assert parts["kv_cache"] > 0 and base.record["memory"]["peak_bytes"] > 10 * weights


def test_files_of_a_run(base: Done) -> None:
    files = files_of(base.folder)
    assert {"record.json", "metrics.jsonl", "samples.jsonl", "checkpoints/final/model.safetensors"} <= files
    assert any(name.startswith("tensorboard/events") for name in files)
    assert not any(name.endswith(".tmp") for name in files)


def test_samples_are_what_was_judged(base: Done) -> None:
    samples = [json.loads(line) for line in (base.folder / "samples.jsonl").read_text().splitlines()]
    assert {s["round"] for s in samples} == set(range(1, 11))
    golds = {p.prompt: p.gold for p in base.run.trainer.task.train(0)}
    for s in samples:
        assert s["gold"] == golds[s["prompt"]]
        right = f"#### {s['gold']}" in s["completion"] and s["completion"].count("####") == 1
        assert s["reward"] == float(right) and (s["verdict"] == "correct") == right
    assert {s["reward"] for s in samples} == {0.0, 1.0}
    for line in base.lines:
        close(line["reward"], line["accuracy/strict"], rtol=0, atol=1e-6)


def test_the_reward_is_the_strict_reading() -> None:
    problem = Problem("id", "1+1=", "2")
    verdicts = [("correct", "correct"), ("wrong", "correct"), ("unparseable", "correct"), ("verifier_error", "wrong")]
    found = [rule(problem, "", Verdict(strict, lenient, None)) for strict, lenient in verdicts]  # type: ignore[arg-type]
    assert found == [1.0, 0.0, 0.0, 0.0]


# ---------------------------------------------------------------- the ledger


def test_the_ledger_is_the_sum_of_the_rounds(base: Done) -> None:
    lines, spend = base.lines, base.record["spend"]
    assert [line["round"] for line in lines] == list(range(1, 11))
    lengths = [round(line["completions/mean_length"] * 16) for line in lines]
    assert spend["generated_tokens"] == spend["trained_tokens"] == sum(lengths)
    for k, line in enumerate(lines, 1):
        assert line["spend/completions"] == line["spend/verifier_calls"] == 16 * k
        assert (line["spend/prompts"], line["spend/updates"]) == (4 * k, k)
        assert line["spend/generated_tokens"] == line["num_tokens"] == sum(lengths[:k])
        close(line["budget/fraction"], k / 10)
    for unit in UNITS:
        assert lines[-1][f"spend/{unit}"] == spend[unit]
    assert spend["completions"] == 160


def test_evaluation_and_checkpoints_are_metered_apart(base: Done) -> None:
    phases, spend = base.record["phases"], base.record["spend"]
    charged = ("rollout", "reward", "annotate", "update")
    close(spend["device_seconds"], sum(phases[name]["seconds"] for name in charged))
    assert phases["eval"]["seconds"] > 0 and phases["checkpoint"]["seconds"] > 0
    assert phases["rollout"]["tokens"] == phases["update"]["tokens"] == spend["generated_tokens"]
    assert phases["eval"]["tokens"] > 0


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Rollouts, Credit]]:
    """What each round trained on."""
    seen: list[tuple[Rollouts, Credit]] = []
    updates = trainer_module.updates

    def spy(rollouts: Rollouts, credit: Credit, *rest: Any) -> Any:
        seen.append((rollouts, credit))
        return updates(rollouts, credit, *rest)

    monkeypatch.setattr(trainer_module, "updates", spy)
    return seen


def test_flops_token_by_token(taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    settings = ("eval_fractions=1", "algo.epochs=2", "algo.minibatches=2")
    done = go(taught, out, "flops", *settings, budget="prompts=8", eval_limit=1)
    layers, heads, size, hidden, inner = 2, 2, 32, 64, 128
    vocabulary = len(AutoTokenizer.from_pretrained(taught))
    matrix = 2 * (layers * (4 * hidden**2 + 3 * hidden * inner + 2 * hidden) + hidden + vocabulary * hidden)

    def token(context: int) -> int:
        return matrix + 4 * layers * heads * size * context

    expected = 0
    for rollouts, _ in seen:
        for i in range(len(rollouts.group_N)):
            c = int(rollouts.completion_mask_NT[i].sum())
            p = int(rollouts.attention_mask_NS[i].sum()) - c
            prompt = sum(token(t) for t in range(1, p + 1))
            completion = sum(token(t) for t in range(p + 1, p + c + 1))
            expected += prompt * (i % 4 == 0) + completion  # rollout: the prompt once a group
            expected += prompt + completion  # the reference, forward
            expected += 2 * 3 * (prompt + completion)  # two epochs, forward and backward
    close(done.record["spend"]["flops"], expected)
    assert done.record["phases"]["annotate"]["tokens"] == sum(int(r.attention_mask_NS.sum()) for r, _ in seen)
    assert done.record["spend"]["updates"] == 2 * 4
    assert done.record["spend"]["trained_tokens"] == 2 * done.record["spend"]["generated_tokens"]


BUDGETS = ["prompts=10", "completions=56", "updates=3", "generated_tokens=400", "trained_tokens=400", "flops=3e8"]


@pytest.mark.parametrize("unit", ["generated_tokens=100", "trained_tokens=100", "flops=2.2e8"])
def test_a_last_round_is_drawn_in_pieces_and_is_what_it_would_be_in_one(taught: Path, out: Path, unit: str) -> None:
    """The same tokens as all at once, log-probabilities up to rounding; and what it foresaw is what it cost."""
    run = prepare(resolve({"model": str(taught), "out": str(out), "name": "pieces", "budget": unit}, SETTINGS, None))
    trainer, before = run.trainer, run.trainer.budget.used(run.trainer.spend)
    problems, pieces, texts = trainer.sample_prompts(0, trainer.round_sizer.groups(trainer.spend))
    whole, whole_texts = trainer.completions.complete(trainer.prompt_stream.take(0, len(problems)), 0)
    assert len(problems) > 2 and (problems, texts) == (trainer.prompt_stream.take(0, len(problems)), whole_texts)
    for name, x in tensors(whole).items():
        y = tensors(pieces)[name]
        assert (x is None) == (y is None), name
        if x is not None:
            close(y, x, *((1e-5, 1e-5) if x.is_floating_point() else (0, 0)))
    foreseen = trainer.projected_cost(pieces, len(problems))
    assert trainer.budget.used(trainer.spend) == before
    done = trainer.train_round()
    assert done is not None and trainer.spend.prompts == len(problems)
    close(trainer.budget.used(trainer.spend), foreseen)
    assert trainer.train_round() is None and trainer.spend.updates == 1


@pytest.mark.parametrize("budget", [*BUDGETS, "device_seconds=0.4"])
def test_a_budget_in_each_unit(taught: Path, out: Path, budget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    done = go(taught, out, budget, "eval_fractions=1", budget=budget, eval_limit=1)
    unit, _, limit = budget.partition("=")
    used, groups = done.record["spend"][unit], done.record["spend"]["prompts"]
    tokens = [int(r.completion_mask_NT[i : i + 4].sum()) for r, _ in seen for i in range(0, len(r.group_N), 4)]
    group = {"prompts": 1, "completions": 4, "updates": 1, "flops": 2 * used / groups}.get(unit, max(tokens))
    allowed = max(0.01 * float(limit), group)
    if unit == "device_seconds":  # the machine's, not ours: that it ends is what can be said
        assert used > 0.1
    elif unit in ("prompts", "completions", "updates"):
        assert float(limit) - group < used <= float(limit)
    else:
        assert abs(used - float(limit)) <= allowed
    assert done.record["spend"]["completions"] == 4 * groups == sum(len(r.group_N) for r, _ in seen)


@pytest.mark.parametrize("name", ["grpo", "rft"])
def test_no_point_of_the_curve_is_left_out(taught: Path, out: Path, name: str) -> None:
    """48 of 50 completions are spent: the point at 0.98 lies between the last round and the end, and is made."""
    settings = ("eval_fractions=0.5,0.98,1", "algo.epochs=2")
    done = go(taught, out, f"late-{name}", *settings, budget="completions=50", eval_limit=1, algo_name=name)
    assert done.record["spend"]["completions"] == 48
    assert [f for f in (0.5, 0.98, 1.0) if done.scores(f)] == [0.5, 0.98, 1.0]


def test_a_budget_smaller_than_a_group_trains_nothing(taught: Path, out: Path) -> None:
    """Evaluated all the same, and honest about it."""
    done = go(taught, out, "little", budget="completions=3", eval_limit=2)
    assert done.record["status"] == "finished" and done.lines == []
    assert not any(done.record["spend"].values())
    assert {row["fraction"] for row in done.record["evals"]} >= {0.0, 1.0}
    assert done.scores(0.0) == done.scores(1.0)
    start = load(taught).state_dict()
    assert all(torch.equal(start[name], x) for name, x in done.weights.items())


# ---------------------------------------------------------------- sampler and trainer


def test_sampler_and_trainer_agree_at_the_first_update(base: Done) -> None:
    assert 0 <= base.record["checks"]["first_update_max_abs_logratio"] < 1e-4
    assert all(line["sampling/max_abs_logratio"] < 1e-4 for line in base.lines)  # one update per round


def test_the_run_learns_something(base: Done, taught: Path) -> None:
    start = load(taught).state_dict()
    assert any(not torch.equal(start[name], x) for name, x in base.weights.items())
    assert any(line["grad_norm"] > 0 for line in base.lines)
    assert base.lines[0]["kl"] < 1e-6 < base.lines[-1]["kl"]


def test_a_model_with_absolute_positions(taught: Path, out: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(taught)
    model = build("gpt2")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    shutil.copy(taught / "model_defaults.toml", tmp_path / "gpt2")
    reward = tmp_path / "even.py"
    reward.write_text("def even(problem, completion, verdict):\n    return float(len(completion) % 2 == 0)\n")
    done = go(tmp_path / "gpt2", out, "gpt2", budget="completions=48", eval_limit=1, reward=f"{reward}:even")
    assert done.record["checks"]["first_update_max_abs_logratio"] < 1e-4
    assert max(line["reward_std"] for line in done.lines) > 0
    close(done.lines[0]["kl"], 0.0, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- evaluations


def test_evaluations_fall_at_their_fractions(base: Done) -> None:
    rows = base.record["evals"]
    assert sorted({row["fraction"] for row in rows}) == [0.0, 0.5, 1.0]
    for row in rows:
        assert row["spend"]["completions"] == 160 * row["fraction"]
        assert row["spend"]["updates"] == 10 * row["fraction"]
        domain, decoding, n = SETS[row["task"]]
        assert (row["domain"], row["decoding"], row["n"]) == (domain, decoding, n)
        assert row["temperature"] == (1.0 if decoding == "sampled" else 0.0) and row["scorer"] == "lm_eval"
    for fraction in (0.0, 0.5, 1.0):
        assert set(base.scores(fraction)) == {(name, kind) for name in SETS for kind in ("strict", "lenient")}
        for rate in ("unparseable", "truncated", "verifier_error"):
            assert set(base.scores(fraction, rate)) == {(name, "strict") for name in SETS}
    assert len({tuple(base.scores(f).values()) for f in (0.0, 0.5, 1.0)}) > 1, "training moved no score"
    assert any(0 < value < 1 for value in base.scores(0.0).values())


def test_every_score_is_the_share_of_its_outcomes(base: Done) -> None:
    for row in base.record["evals"]:
        lines = gzip.decompress((base.folder / row["outcomes"]).read_bytes()).decode().splitlines()
        outcomes = [json.loads(line) for line in lines]
        wanted = "correct" if row["metric"] == "exact_match" else row["metric"]
        hits = [o[row["filter"]] == wanted for o in outcomes]
        share = sum(hits) / len(hits)
        assert len(hits) == row["n"]
        shown = [o for o in outcomes if "text" in o]
        assert len({o["id"] for o in shown}) == len(shown) == min(SHOWN, row["n"]) and shown == outcomes[:SHOWN]
        close([row["value"], row["stderr"]], [share, math.sqrt(share * (1 - share) / (len(hits) - 1))])
    strict, lenient = (sum(v for (_, f), v in base.scores(0.0).items() if f == kind) for kind in ("strict", "lenient"))
    assert 0 < strict <= lenient


def test_the_checkpoint_scores_the_same_through_lm_evals_own_model(base: Done) -> None:
    pytest.importorskip("lm_eval")
    from evals.scoring.lm_eval_bridge import score_hf

    names = [name for name, (_, decoding, _) in SETS.items() if decoding == "greedy"]
    found = score_hf(base.folder / "checkpoints" / "final", base.folder / "tasks", names)
    theirs = {(r["task"], r["filter"]): r["value"] for r in found.rows if r["metric"] == "exact_match"}
    ours = {key: value for key, value in base.scores(1.0).items() if key[0] in names}
    assert theirs == ours and any(0 < value < 1 for value in ours.values())


def test_our_own_scorer_gives_the_same_numbers(
    base: Done, taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.training.evaluation, "available", lambda: False)
    done = go(taught, out, "direct", budget="completions=160")
    assert {row["scorer"] for row in done.record["evals"]} == {"direct"}

    def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in ("scorer", "spend")} for row in rows]

    assert comparable(done.record["evals"]) == comparable(base.record["evals"])
    assert done.metrics == base.metrics and same_weights(done, base)


def test_a_chat_template_is_applied_everywhere(base: Done, taught: Path, out: Path, tmp_path: Path) -> None:
    """A template that adds nothing: every number stays, and lm-eval's own model still agrees."""
    from evals.scoring.lm_eval_bridge import score_hf

    shutil.copytree(taught, tmp_path / "chat")
    file = tmp_path / "chat" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}))
    done = go(tmp_path / "chat", out, "chat", budget="completions=32", eval_limit=8)
    assert done.run.trainer.tokenizer.chat
    assert [line["completions/mean_length"] for line in done.lines] == [
        line["completions/mean_length"] for line in base.lines[:2]
    ]
    doc = json.loads((done.folder / "tasks" / "arithmetic.jsonl").read_text().splitlines()[0])
    assert doc["question"] == doc["prompt"]
    found = score_hf(done.folder / "checkpoints" / "final", done.folder / "tasks", ["arithmetic"])
    value = next(r["value"] for r in found.rows if r["filter"] == "strict")
    assert value == done.scores(1.0)["arithmetic", "strict"] > 0


# ---------------------------------------------------------------- the same numbers again


def test_the_same_seed_gives_the_same_run(base: Done, taught: Path, out: Path) -> None:
    torch.manual_seed(123)  # nothing hangs on the global generators
    again = go(taught, out / "elsewhere", "again", budget="completions=160")
    assert again.metrics == base.metrics and same_weights(again, base)
    for fraction in (0.0, 0.5, 1.0):
        assert again.scores(fraction) == base.scores(fraction)
    assert again.record["config_sha256"] == base.record["config_sha256"]
    names = sorted(p.name for p in (base.folder / "outcomes").iterdir())
    for name in names:
        assert (again.folder / "outcomes" / name).read_bytes() == (base.folder / "outcomes" / name).read_bytes()


def test_evaluation_does_not_disturb_training(base: Done, taught: Path, out: Path) -> None:
    alone = go(taught, out, "alone", "eval_fractions=1", budget="completions=160")
    assert {row["fraction"] for row in alone.record["evals"]} == {1.0}
    assert alone.metrics == base.metrics and same_weights(alone, base)
    assert alone.scores(1.0) == base.scores(1.0)


@pytest.mark.parametrize("setting", ["rollout_batch_size=4", "micro_batch_tokens=1"])
def test_how_work_is_cut_changes_no_more_than_rounding(base: Done, taught: Path, out: Path, setting: str) -> None:
    done = go(taught, out, setting, setting, "eval_fractions=1", budget="completions=32", eval_limit=1)
    for mine, theirs in zip(done.metrics, base.metrics, strict=False):
        for name in ("reward", "completions/mean_length", "accuracy/strict"):
            assert mine[name] == theirs[name]
        close([mine["loss"], mine["entropy"]], [theirs["loss"], theirs["entropy"]], rtol=1e-4, atol=1e-5)


def test_another_seed_gives_another_run(base: Done, taught: Path, out: Path) -> None:
    other = go(taught, out, "other", "eval_fractions=1", budget="completions=32", seed=1, eval_limit=1)
    assert [m["completions/mean_length"] for m in other.metrics] != [
        m["completions/mean_length"] for m in base.metrics[:2]
    ]
    assert other.record["config_sha256"] != base.record["config_sha256"]


def test_arms_of_a_seed_see_the_same_prompts_and_noise(
    base: Done, taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another algorithm's settings, the same first round of completions, and the same prompts ever after."""
    seen = spied(monkeypatch)
    one = go(taught, out, "one", "eval_fractions=1", budget="completions=64", eval_limit=1)
    count = len(seen)
    settings = ("algo.normalize=none", "algo.kl_coef=0", "algo.epochs=2", "eval_fractions=1")
    two = go(taught, out, "two", *settings, budget="completions=64", eval_limit=1)
    assert one.lines[0]["completions/mean_length"] == two.lines[0]["completions/mean_length"]
    first, second = seen[:count], seen[count:]
    assert torch.equal(first[0][0].tokens_NS, second[0][0].tokens_NS)
    assert any(not torch.equal(a.tokens_NS, b.tokens_NS) for (a, _), (b, _) in zip(first, second, strict=True))

    def prompts(rollouts: Rollouts) -> list[list[int]]:
        start = rollouts.tokens_NS.shape[1] - rollouts.completion_mask_NT.shape[1]
        return rollouts.tokens_NS[:, :start].tolist()

    for (a, _), (b, _) in zip(first, second, strict=True):
        assert prompts(a) == prompts(b)


def test_an_epoch_draws_every_problem_once(base: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = base.run.trainer.prompt_stream
    ids = [p.id for p in draws.take(0, 48)]
    epochs = [ids[:16], ids[16:32], ids[32:]]
    assert all(sorted(epoch) == sorted(p.id for p in draws.problems) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [p.id for p in draws.take(13, 9)] == ids[13:22]


# ---------------------------------------------------------------- what a user brings


def test_a_reward_of_the_users_own(taught: Path, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def share(problem, completion, verdict):\n"
        "    return len(completion) / 20 + (verdict.lenient == 'correct') * len(problem.gold)\n"
    )
    done = go(taught, out, "mine", "eval_fractions=1", budget="completions=32", eval_limit=1, reward=f"{file}:share")
    for line in (done.folder / "samples.jsonl").read_text().splitlines():
        s = json.loads(line)
        right = s["verdict"] == "correct"
        lengthy = len(s["completion"]) / 20
        close(min(abs(s["reward"] - lengthy), abs(s["reward"] - lengthy - len(s["gold"]))), 0.0, rtol=0, atol=1e-6)
        assert not right or s["reward"] > 1
    assert done.lines[0]["reward"] > done.lines[0]["accuracy/strict"]


ALGORITHM = '''"""REINFORCE, as somebody else would bring it."""

from dataclasses import dataclass

import torch

from algos import Algorithm, Credit
from algos.ops import aggregate


@dataclass(frozen=True, kw_only=True)
class Plain(Algorithm):
    scale: float = 2.0

    def credit(self, rollouts):
        worth_N = self.scale * (rollouts.reward_N - 0.25)
        return Credit(
            advantage_NT=torch.where(rollouts.completion_mask_NT, worth_N[:, None], 0),
            keep_N=rollouts.valid_N,
            metrics={"worth": float(worth_N.mean())},
        )

    def loss(self, batch, fresh):
        mask_NT = batch.rollouts.completion_mask_NT
        return -aggregate.mean(batch.credit.advantage_NT * fresh.logp_NT, mask_NT, batch.totals, "token"), {}
'''


def test_an_algorithm_of_the_users_own(taught: Path, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(ALGORITHM)
    settings = ("eval_fractions=1", "algo.scale=3", "group_size=1")  # it may: nothing in it is relative to a group
    done = go(taught, out, "of_the_users", *settings, budget="completions=12", eval_limit=1, algo_name=str(file))
    assert done.record["config"]["algo"] == {"scale": 3.0} and done.record["algo"] == str(file)
    for line in done.lines:
        close(line["worth"], 3 * (line["reward"] - 0.25), rtol=0, atol=1e-6)
        assert line["grad_norm"] > 0 and "kl" not in line
    assert "reference" not in done.record["memory"]["parts"]
    assert done.record["phases"]["annotate"]["tokens"] == 0


def test_data_of_the_users_own(taught: Path, out: Path, tmp_path: Path) -> None:
    """Bad golds are counted and named, the rest is trained on; a template makes the question."""
    rows = [{"Body": f"What is {n}", "Q": "doubled?", "A": str(2 * n)} for n in range(12)]
    rows[3]["A"] = "no idea at all"
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test.write_text("".join(json.dumps({**row, "Body": "Then what is"}) + "\n" for row in rows[:1]))
    files = {"train_file": str(train), "test_file": str(test), "eval_files": {"other": str(test)}}
    settings = ("task.question={Body} {Q}", "task.answer=A", "task.instruction={question}", "task.selection_percent=0")
    done = go(taught, out, "own", *settings, task_name="qa", task=files, budget="completions=16", eval_limit=1)
    assert set(done.scores(1.0)) >= {("qa", "strict"), ("qa_t1", "strict"), ("other", "strict")}
    assert len(done.run.trainer.prompt_stream.problems) == 11
    assert any("4" in notice and "no idea at all" in notice for notice in done.run.notices), done.run.notices


# ---------------------------------------------------------------- verification


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bool]:
    """A verifier that breaks on some completions."""

    def breaks(text: str) -> bool:
        return len(text) % 3 == 0

    verify = Arithmetic.verify

    def broken(self: Arithmetic, problem: Any, completion: str, ended: bool) -> Verdict:
        if breaks(completion):
            return Verdict("verifier_error", "verifier_error", None)
        return verify(self, problem, completion, ended)

    monkeypatch.setattr(Arithmetic, "verify", broken)
    return breaks


def test_rows_that_the_verifier_lost_leave_their_group(
    taught: Path, out: Path, flaky: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(monkeypatch)
    done = go(taught, out, "flaky", "eval_fractions=1", budget="completions=96", eval_limit=2)
    trained = lost = loud = 0
    tokenizer = done.run.trainer.tokenizer.tokenizer
    for (r, credit), line in zip(seen, done.lines, strict=True):
        assert r.reward_N is not None and r.valid_N is not None
        width = r.completion_mask_NT.shape[1]
        texts = [
            tokenizer.decode(row[-width:][mask], skip_special_tokens=True)
            for row, mask in zip(r.tokens_NS, r.completion_mask_NT, strict=True)
        ]
        bad = [flaky(text) for text in texts]
        close(line["verifier_error"], sum(bad) / 16)
        assert r.valid_N.tolist() == credit.keep_N.tolist() == [not b for b in bad]
        for g in range(4):
            rows = [i for i in range(4 * g, 4 * g + 4) if not bad[i]]
            rewards = [float(r.reward_N[i]) for i in rows]
            mean = sum(rewards) / max(len(rows), 1)
            std = math.sqrt(sum((x - mean) ** 2 for x in rewards) / max(len(rows), 1)) or 1.0
            loud += std != 1.0
            for i in range(4 * g, 4 * g + 4):
                worth = 0.0 if bad[i] else (float(r.reward_N[i]) - mean) / std
                close(credit.advantage_NT[i], [worth * float(m) for m in r.completion_mask_NT[i]], rtol=0, atol=1e-6)
        good = [float(r.reward_N[i]) for i in range(16) if not bad[i]]
        close(line["reward"], sum(good) / len(good), rtol=1e-6)
        trained += int(r.completion_mask_NT[r.valid_N].sum())
        lost += sum(bad)
    assert 0 < lost < 96 and loud > 0
    assert done.record["spend"]["trained_tokens"] == trained < done.record["spend"]["generated_tokens"]
    assert done.record["spend"]["completions"] == done.record["spend"]["verifier_calls"] == 96


def test_a_round_that_the_verifier_lost_whole_still_takes_its_update(
    taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Verdict("verifier_error", "verifier_error", None)
    monkeypatch.setattr(Arithmetic, "verify", lambda *_: lost)
    done = go(taught, out, "lost", budget="completions=48", eval_limit=2)
    assert done.record["spend"]["updates"] == 3 and done.record["spend"]["trained_tokens"] == 0
    assert all(line["verifier_error"] == 1.0 and line["grad_norm"] == 0.0 for line in done.lines)
    assert set(done.scores(1.0, "verifier_error").values()) == {1.0} and set(done.scores(1.0).values()) == {0.0}
    start = load(taught).state_dict()
    assert all(torch.equal(start[name], x) for name, x in done.weights.items())


def test_silent_groups_are_trained_and_counted(taught: Path, out: Path, tmp_path: Path) -> None:
    """A constant reward: every group silent, only the KL could pull, and the ledger counts it all."""
    file = tmp_path / "flat.py"
    file.write_text("def flat(problem, completion, verdict):\n    return 0.3\n")
    done = go(taught, out, "flat", "eval_fractions=1", budget="completions=48", eval_limit=1, reward=f"{file}:flat")
    assert [line["frac_reward_zero_std"] for line in done.lines] == [1.0] * 3
    assert [line["advantage/abs_mean"] for line in done.lines] == [0.0] * 3
    spend = done.record["spend"]
    assert spend["updates"] == 3 and spend["trained_tokens"] == spend["generated_tokens"] > 0
    start = load(taught).state_dict()
    for name, x in done.weights.items():  # at the reference the KL has no gradient but rounding
        assert float((start[name] - x).abs().max()) < 1e-2


def test_completions_cut_at_the_limit_are_counted(taught: Path, out: Path) -> None:
    done = go(taught, out, "cut", "eval_fractions=1", budget="completions=32", eval_limit=4, max_new_tokens=2)
    for line in done.lines:
        assert line["completions/clipped_ratio"] > 0.5 and line["completions/max_length"] == 2
        assert line["truncated"] > 0
    assert max(done.scores(1.0, "truncated").values()) > 0
