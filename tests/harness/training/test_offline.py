"""Runs that sample everything from the start model first: RFT's, of a small model, and the points of their curves."""

from __future__ import annotations

import copy
import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import harness.training.offline
from algos.rft import RFT
from evals.tasks.arithmetic import Arithmetic
from harness.accounting.budget import Budget, sampling_budget
from harness.accounting.profiler import PhaseProfiler
from harness.rollout.collate import join
from harness.rollout.sampler import Sampler, Sampling
from harness.training.batching import deal, trim
from harness.training.evaluation import Evaluator
from harness.training.offline import OfflineLoop
from tests.harness.tiny_models import SIZES
from tests.harness.training.test_batching import varlen
from tests.harness.training.test_run import PART, RECORD, Done, check_type, go, load, same_weights, spied
from tests.helpers import close, tensors

UNTIMED = ("prompts", "completions", "generated_tokens", "trained_tokens", "updates", "flops", "verifier_calls")
PARTS = ("policy", "gradients", "optimizer", "kv_cache", "activations")
ALL = "algo.distinct=false"  # keep every correct completion: groups of several rows
END = "eval_fractions=1"
SHARP = (ALL, "lr=0.01", "decay=linear")


def rft(model: Path, out: Path, name: str, *settings: str, **flags: Any) -> Done:
    return go(model, out, name, *settings, algo_name="rft", **flags)


def offline(done: Done) -> OfflineLoop:
    assert isinstance(done.run.loop, OfflineLoop)
    return done.run.loop


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    return {}


@pytest.fixture(scope="module")
def base(taught: Path, out: Path, states: dict[str, dict[str, torch.Tensor]]) -> Done:
    """Six rounds of 4 x 4, which go one and a half times round the 16 problems, then three passes.

    `states` has the weights that were scored at each point of its curve.
    """
    record = Evaluator.record

    def spy(self: Evaluator, fraction: float, *rest: Any) -> Any:
        states[f"{fraction:g}"] = copy.deepcopy(self.sampler.model.state_dict())
        return record(self, fraction, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "record", spy)
        return rft(taught, out, "base", *SHARP, budget="completions=96")


Row = tuple[int, list[int], int]  # the problem's place, the completion's tokens, the row's number


def correct(done: Done) -> list[Row]:
    """The rows whose reward is 1, in the order in which they were sampled."""
    found: list[Row] = []
    number = 0
    for r in offline(done).replay:
        assert r.reward_N is not None and r.valid_N is not None
        for i in range(len(r.group_N)):
            tokens = r.tokens_NS[i, -r.completion_mask_NT.shape[1] :][r.completion_mask_NT[i]].tolist()
            if float(r.reward_N[i]) == 1.0 and bool(r.valid_N[i]):
                found.append((int(r.group_N[i]), tokens, number))
            number += 1
    return found


# ---------------------------------------------------------------- the two stages, as functions


SHARES = [
    # budget -> what sampling may use, with 5 prompts a round and a share of 0.3
    ("prompts=70", Budget("prompts", 70)),
    ("completions=70", Budget("completions", 70)),
    ("generated_tokens=70", Budget("generated_tokens", 70)),
    ("trained_tokens=70", Budget("generated_tokens", 70)),  # as a live run of one epoch, which trains all it samples
    ("updates=70", Budget("prompts", 350)),  # as a live run of one update per round
    ("flops=70", Budget("flops", 21)),
    ("device_seconds=70", Budget("device_seconds", 21)),
]


@pytest.mark.parametrize(("asked", "sampling"), SHARES)
def test_what_sampling_may_use(asked: str, sampling: Budget) -> None:
    found = sampling_budget(Budget.parse(asked), prompts=5, share=0.3)
    assert found.unit == sampling.unit
    close(found.limit, sampling.limit)


WIDTHS = [(9, 5), (4, 11), (1, 1), (9, 11)]  # of the prompts and the completions of a round


def test_joined_rounds_keep_their_rows() -> None:
    """Whatever their widths: tokens, mask and what belongs to a row; what was added is padding."""
    rounds = [varlen(groups=2, size=3, seed=k, prompt=p, tokens=c) for k, (p, c) in enumerate(WIDTHS)]
    one = join([r for r, _ in rounds], pad=-7)
    assert one.tokens_NS.shape == (24, 9 + 11) and one.completion_mask_NT.shape == (24, 11)
    assert one.solution_id_N is None and one.value_NT is None
    assert one.ref_logp_NT is not None and one.reward_N is not None
    assert torch.equal(one.attention_mask_NS[:, 9:], one.completion_mask_NT)
    for k, (r, _) in enumerate(rounds):
        assert r.ref_logp_NT is not None and r.reward_N is not None
        for i in range(6):
            row, n = 6 * k + i, int(r.completion_mask_NT[i].sum())
            assert (
                one.tokens_NS[row][one.attention_mask_NS[row]].tolist()
                == r.tokens_NS[i][r.attention_mask_NS[i]].tolist()
            )
            assert one.completion_mask_NT[row].tolist() == [True] * n + [False] * (11 - n)
            for name in ("logp_NT", "ref_logp_NT"):
                assert getattr(one, name)[row].tolist() == getattr(r, name)[i, :n].tolist() + [0.0] * (11 - n)
            assert (int(one.group_N[row]), float(one.reward_N[row])) == (int(r.group_N[i]), float(r.reward_N[i]))
    added = torch.ones_like(one.attention_mask_NS)
    for k, (p, c) in enumerate(WIDTHS):
        added[6 * k : 6 * k + 6, 9 - p : 9 + c] = False
    assert (one.tokens_NS[added] == -7).all() and not one.attention_mask_NS[added].any()


def test_a_row_trimmed_is_the_same_before_joining_and_after() -> None:
    rounds = [varlen(groups=2, size=3, seed=k, prompt=p, tokens=c) for k, (p, c) in enumerate(WIDTHS)]
    one = join([r for r, _ in rounds], pad=0)
    for k, (r, credit) in enumerate(rounds):
        for i in range(6):
            alone, _ = trim(r.take(torch.tensor([i])), credit.take(torch.tensor([i])))
            again, _ = trim(one.take(torch.tensor([6 * k + i])), credit.take(torch.tensor([i])))
            for name, x in tensors(alone).items():
                assert x is None or torch.equal(tensors(again)[name], x), name


def test_one_round_joined_is_itself() -> None:
    r, _ = varlen()
    one = join([r], pad=0)
    assert all(x is None or torch.equal(tensors(one)[name], x) for name, x in tensors(r).items())


# ---------------------------------------------------------------- sampling


def test_every_round_is_sampled_from_the_start_model(base: Done, taught: Path) -> None:
    """Draw by draw, from a copy of the start model: also behind the point at 0.5, which was trained for in between."""
    loop, tokenizer = offline(base), AutoTokenizer.from_pretrained(taught)
    sampler = Sampler(load(taught), tokenizer)
    problems = Arithmetic(**SIZES).train(0)
    assert len(loop.replay) == 6
    for k, r in enumerate(loop.replay):
        places = loop.trainer.prompt_stream.places(4 * k, 4)
        assert r.group_N.tolist() == [place for place in places for _ in range(4)]
        prompts = [tokenizer(problems[place].prompt)["input_ids"] for place in places]
        done = sampler(prompts, 4, Sampling(1.0, 8, 0, "train"), list(range(4 * k, 4 * k + 4)))
        assert torch.equal(r.tokens_NS[:, -r.completion_mask_NT.shape[1] :], done.tokens_NT)
        assert r.completion_mask_NT.sum(1).tolist() == done.length_N.tolist()
        close(r.logp_NT, done.logp_NT, rtol=0, atol=1e-5)


def test_the_first_round_is_the_one_that_grpo_has(
    base: Done, taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(monkeypatch)
    go(taught, out, "grpo", END, budget="completions=16", eval_limit=1)
    ((theirs, _),) = seen
    mine = offline(base).replay[0]
    for name in (
        "tokens_NS",
        "attention_mask_NS",
        "completion_mask_NT",
        "logp_NT",
        "reward_N",
        "solution_id_N",
        "finished_N",
    ):
        assert torch.equal(getattr(mine, name), getattr(theirs, name)), name


def test_what_is_sampled_does_not_depend_on_what_is_trained(base: Done, taught: Path, out: Path) -> None:
    other = rft(taught, out, "slow", ALL, "lr=1e-5", "algo.epochs=1", budget="completions=96", eval_limit=1)
    assert not same_weights(other, base)
    for one, two in zip(offline(other).replay, offline(base).replay, strict=True):
        assert all(x is None or torch.equal(tensors(two)[name], x) for name, x in tensors(one).items())


# ---------------------------------------------------------------- what is kept


def test_draws_of_one_problem_are_one_group(base: Done) -> None:
    """Half of the 16 problems are drawn twice, in different rounds."""
    kept = offline(base).kept
    assert kept is not None
    rollouts, credit = kept
    places = [place for place, _, _ in correct(base)]
    groups = sorted(set(places))
    rounds_of = {place: {number // 16 for p, _, number in correct(base) if p == place} for place in groups}
    assert any(len(rounds) == 2 for rounds in rounds_of.values()), "no problem was solved in two of its draws"
    assert rollouts.group_N.tolist() == [groups.index(place) for place in places]
    assert bool(credit.keep_N.all()) and int(rollouts.group_N.max()) + 1 == len(groups)


@pytest.mark.parametrize(("distinct", "cap"), [(True, None), (False, 1), (False, 2), (True, 1)])
def test_distinct_and_cap_count_over_all_draws_of_a_problem(base: Done, distinct: bool, cap: int | None) -> None:
    loop = copy.copy(offline(base))
    loop.trainer = copy.copy(loop.trainer)
    loop.trainer.algo = RFT(distinct=distinct, max_per_prompt=cap)
    rollouts, _ = loop.select()
    keys = [int(k) for r in loop.replay if r.solution_id_N is not None for k in r.solution_id_N]
    expected: list[list[int]] = []
    had: list[tuple[int, int]] = []
    for place, tokens, number in correct(base):
        new = (place, keys[number]) not in had
        if (new or not distinct) and sum(p == place for p, _ in had) < (cap or 99):
            had.append((place, keys[number]))
            expected.append(tokens)
    width = rollouts.completion_mask_NT.shape[1]
    assert [
        row[-width:][m].tolist() for row, m in zip(rollouts.tokens_NS, rollouts.completion_mask_NT, strict=True)
    ] == expected
    assert 0 < len(expected) < len(correct(base))


# ---------------------------------------------------------------- the record


def test_the_record_is_a_live_runs_and_says_how_the_spend_divides(base: Done) -> None:
    written = json.loads((base.folder / "record.json").read_text())
    check_type(written, {**RECORD, "memory": {"parts": dict.fromkeys(PARTS, PART)}}, "record")
    assert written["status"] == "finished" and set(written["split"]) == {
        "sampling",
        "training",
        "passes",
        "kept_completions",
    }
    spend, split = written["spend"], written["split"]
    assert set(split["sampling"]) == set(split["training"]) == set(spend)
    for unit in spend:
        close(split["sampling"][unit] + split["training"][unit], spend[unit])
    for unit in ("prompts", "completions", "generated_tokens", "verifier_calls"):
        assert split["training"][unit] == 0 < split["sampling"][unit]
    assert split["sampling"]["updates"] == split["sampling"]["trained_tokens"] == 0
    assert split["training"]["flops"] > 0 and split["training"]["device_seconds"] > 0
    assert set(written["memory"]["parts"]) == set(PARTS)


def test_training_by_hand(base: Done) -> None:
    """Three passes over what is correct, four groups an update."""
    split, kept = base.record["split"], correct(base)
    groups = len({place for place, _, _ in kept})
    assert groups % 4 != 0, "the last update of a pass would be no test"
    assert (split["passes"], split["kept_completions"]) == (3, len(kept))
    assert base.record["spend"]["updates"] == 3 * math.ceil(groups / 4)
    assert base.record["spend"]["trained_tokens"] == 3 * sum(len(tokens) for _, tokens, _ in kept)
    assert base.record["phases"]["update"]["tokens"] == base.record["spend"]["trained_tokens"]


def test_the_flops_of_training_by_hand(base: Done, taught: Path) -> None:
    """Forward and backward over prompt and completion of every kept row, in every pass."""
    layers, heads, size, hidden, inner = 2, 2, 32, 64, 128
    vocabulary = len(AutoTokenizer.from_pretrained(taught))
    matrix = 2 * (layers * (4 * hidden**2 + 3 * hidden * inner + 2 * hidden) + hidden + vocabulary * hidden)
    rows = [int(n) for r in offline(base).replay for n in r.attention_mask_NS.sum(1)]
    lengths = [rows[number] for _, _, number in correct(base)]
    once = sum(matrix + 4 * layers * heads * size * t for n in lengths for t in range(1, n + 1))
    close(base.record["split"]["training"]["flops"], 3 * 3 * once)


def test_rounds_sample_and_passes_train(base: Done) -> None:
    lines = base.lines
    assert [line["round"] for line in lines] == list(range(1, 10))
    assert [line["spend/completions"] for line in lines] == [16, 32, 48, 64, 80, 96, 96, 96, 96]
    updates = base.record["spend"]["updates"] // 3
    assert [line["spend/updates"] for line in lines] == [0] * 6 + [updates, 2 * updates, 3 * updates]
    assert all("loss" not in line and "reward" in line for line in lines[:6])
    assert all("loss" in line and "reward" not in line for line in lines[6:])
    samples = [json.loads(line) for line in (base.folder / "samples.jsonl").read_text().splitlines()]
    assert {s["round"] for s in samples} == set(range(1, 7))


def test_sampler_and_trainer_agree_at_the_first_update(base: Done) -> None:
    """... of the run, whose log-probabilities were the start model's; later ones have no claim to."""
    assert 0 <= base.record["checks"]["first_update_max_abs_logratio"] < 1e-4
    assert base.lines[6]["sampling/max_abs_logratio"] < 1e-4
    assert not any("sampling/max_abs_logratio" in line for line in base.lines[7:])


def test_a_decaying_rate_falls_over_the_passes(taught: Path, out: Path) -> None:
    """One update a pass, three passes: the rates at 0, 1/3 and 2/3 of the training."""
    settings = (END, ALL, "decay=linear", "lr=0.003", "prompts=16")
    done = rft(taught, out, "decay", *settings, budget="completions=64", eval_limit=1)
    close([line["learning_rate"] for line in done.lines if "loss" in line], [0.003, 0.002, 0.001])


# ---------------------------------------------------------------- points of the curve (rule 6)


def rows_at(done: Done, fraction: float) -> list[dict[str, Any]]:
    rows = [row for row in done.record["evals"] if row["fraction"] == fraction]
    return [{k: v for k, v in row.items() if k not in ("fraction", "spend", "outcomes")} for row in rows]


def spend_at(done: Done, fraction: float) -> dict[str, float]:
    return next(row["spend"] for row in done.record["evals"] if row["fraction"] == fraction)


@pytest.fixture(scope="module")
def half(taught: Path, out: Path) -> Done:
    return rft(taught, out, "half", END, *SHARP, budget="completions=48")


def test_a_point_is_a_run_of_its_own(base: Done, half: Done, states: dict[str, dict[str, torch.Tensor]]) -> None:
    """At half of the budget the curve has what a run with half of the budget ends with: scores, spend and weights."""
    assert rows_at(base, 0.5) == rows_at(half, 1.0) and rows_at(base, 0.5)
    mine, theirs = spend_at(base, 0.5), spend_at(half, 1.0)
    assert all(mine[unit] == theirs[unit] for unit in UNTIMED)
    assert mine["completions"] == 48 and mine["updates"] > 0
    assert all(torch.equal(states["0.5"][name], x) for name, x in half.weights.items())
    assert rows_at(base, 0.5) != rows_at(base, 0.0) and rows_at(base, 0.5) != rows_at(base, 1.0)


def test_the_curve_begins_with_the_start_model_and_ends_with_the_run(
    base: Done, taught: Path, states: dict[str, dict[str, torch.Tensor]]
) -> None:
    assert all(torch.equal(states["0"][name], x) for name, x in load(taught).state_dict().items())
    assert all(torch.equal(states["1"][name], x) for name, x in base.weights.items())
    assert not any(spend_at(base, 0.0).values())
    assert all(spend_at(base, 1.0)[unit] == base.record["spend"][unit] for unit in base.record["spend"])


def test_a_point_changes_nothing_in_the_run(base: Done, taught: Path, out: Path) -> None:
    """The same bits without it, and it is metered apart."""
    alone = rft(taught, out, "alone", END, *SHARP, budget="completions=96", eval_limit=1)
    assert alone.metrics == base.metrics and same_weights(alone, base)
    assert all(alone.record["spend"][unit] == base.record["spend"][unit] for unit in UNTIMED)
    assert alone.record["checks"] == base.record["checks"]
    for name in ("rollout", "update"):
        assert alone.record["phases"][name]["tokens"] == base.record["phases"][name]["tokens"]
    assert "curve_branch" not in alone.record["phases"] and base.record["phases"]["curve_branch"]["seconds"] > 0
    charged = ("rollout", "reward", "annotate", "update")
    close(base.record["spend"]["device_seconds"], sum(base.record["phases"][name]["seconds"] for name in charged))


def test_no_side_branch_where_a_curve_has_its_ends_alone(taught: Path, out: Path) -> None:
    done = rft(taught, out, "ends", "eval_fractions=0,1", budget="completions=16", eval_limit=1)
    assert "curve_branch" not in done.record["phases"] and {row["fraction"] for row in done.record["evals"]} == {
        0.0,
        1.0,
    }


def dearest(done: Done) -> float:
    """The FLOPs of one kept group's forward and backward, at most."""
    loop = offline(done)
    assert loop.kept is not None
    r = loop.kept[0]
    lengths = [r.attention_mask_NS[r.group_N == g].sum(1).tolist() for g in range(int(r.group_N.max()) + 1)]
    return max(loop.trainer.flops.update(group) for group in lengths)


def test_a_point_is_a_run_of_its_own_in_flops_too(taught: Path, out: Path) -> None:
    """Within a group of what the budget pays for: sampling ends at the round that reaches its share."""
    settings = ("prompts=1", ALL)
    whole = rft(taught, out, "whole-flops", *settings, "eval_fractions=0.5,1", budget="flops=2e8", eval_limit=1)
    part = rft(taught, out, "half-flops", *settings, END, budget="flops=1e8", eval_limit=1)
    mine, theirs, trained = spend_at(whole, 0.5), spend_at(part, 1.0), dearest(whole)
    assert abs(mine["prompts"] - theirs["prompts"]) <= 1
    assert abs(mine["flops"] - theirs["flops"]) <= max(0.01 * 1e8, trained)
    for spend in (mine, theirs):
        assert 1e8 - max(0.01 * 1e8, trained) <= spend["flops"] <= 1e8 and spend["updates"] > 0
    sampled = part.record["split"]["sampling"]
    group = sampled["flops"] / sampled["prompts"]
    assert abs(sampled["flops"] - 0.5e8) <= 2 * group  # half of it, the share that sampling has


# ---------------------------------------------------------------- budgets

BUDGETS = ["prompts=10", "completions=56", "generated_tokens=400", "trained_tokens=300", "updates=5", "flops=3e8"]


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_in_each_unit(taught: Path, out: Path, budget: str) -> None:
    """Where training is paid in the budget's unit it fills the rest of it, never over the limit: of the last update
    the last groups are dropped until it fits, so less than one group is left."""
    done = rft(taught, out, budget, END, ALL, budget=budget, eval_limit=1)
    unit, _, number = budget.partition("=")
    limit, spend, split = float(number), done.record["spend"], done.record["split"]
    rounds, kept = offline(done).replay, offline(done).kept
    assert kept is not None and split["passes"] >= 1 and spend["updates"] > 0
    group_tokens = [int(r.completion_mask_NT[i : i + 4].sum()) for r in rounds for i in range(0, len(r.group_N), 4)]
    r = kept[0]
    trained = max(int(r.completion_mask_NT[r.group_N == g].sum()) for g in range(int(r.group_N.max()) + 1))
    if unit in ("prompts", "completions"):
        assert (spend[unit], split["passes"]) == (limit, 3)
    elif unit == "generated_tokens":
        assert abs(spend[unit] - limit) <= max(0.01 * limit, *group_tokens) and split["passes"] == 3
    elif unit == "updates":
        assert spend[unit] == limit and spend["prompts"] == 4 * limit
    elif unit == "trained_tokens":
        assert limit - max(0.01 * limit, trained) <= spend[unit] <= limit
        assert abs(spend["generated_tokens"] - limit) <= max(0.01 * limit, *group_tokens)
    else:
        assert limit - max(0.01 * limit, dearest(done)) <= spend[unit] <= limit
        group = split["sampling"]["flops"] / split["sampling"]["prompts"]
        assert abs(split["sampling"]["flops"] - limit / 2) <= 2 * group


@pytest.mark.parametrize("limit", [274, 295])
def test_the_first_update_that_does_not_fit_is_cut_and_is_the_last(taught: Path, out: Path, limit: int) -> None:
    """Group by group, in the order in which the passes deal them out, two to an update."""
    done = rft(taught, out, f"cut-{limit}", END, ALL, "prompts=2", budget=f"trained_tokens={limit}", eval_limit=1)
    kept = correct(done)
    places = sorted({place for place, _, _ in kept})
    tokens = [sum(len(t) for p, t, _ in kept if p == place) for place in places]
    left, updates, passes, cut = limit, 0, 0, False
    while not cut:
        before = updates
        for part in deal(len(places), math.ceil(len(places) / 2), 0, 0, passes):
            groups = part.tolist()
            while groups and sum(tokens[g] for g in groups) > left:
                groups.pop()
                cut = True
            updates += len(groups) > 0
            left -= sum(tokens[g] for g in groups)
            if cut:
                break
        passes += updates > before
    spend = done.record["spend"]
    assert (spend["trained_tokens"], spend["updates"]) == (limit - left, updates)
    assert done.record["split"]["passes"] == passes > 1


def test_a_budget_of_seconds_is_shared_and_filled(taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 10 ms whenever somebody reads it.  What an update takes is known after the first
    of a pass, so the end is within one update (less than 50 ms here)."""
    ticks = itertools.count()
    monkeypatch.setattr(PhaseProfiler, "_now", lambda _: 0.01 * next(ticks))
    monkeypatch.setattr(harness.training.offline, "time", SimpleNamespace(perf_counter=lambda: 0.01 * next(ticks)))
    done = rft(taught, out, "seconds", END, ALL, budget="device_seconds=0.8", eval_limit=1)
    split, spend = done.record["split"], done.record["spend"]
    assert abs(spend["device_seconds"] - 0.8) < 0.05 and spend["updates"] > 0
    assert abs(split["sampling"]["device_seconds"] - 0.4) < 0.05


@pytest.mark.parametrize("budget", ["completions=32", "updates=3", "flops=1e8"])
def test_nothing_right_leaves_the_start_model(taught: Path, out: Path, tmp_path: Path, budget: str) -> None:
    file = tmp_path / "never.py"
    file.write_text("def never(problem, completion, verdict):\n    return 0.0\n")
    settings = {"budget": budget, "reward": f"{file}:never", "eval_limit": 1}
    done = rft(taught, out, f"never-{budget}", "eval_fractions=0,0.5,1", **settings)
    record, start = done.record, load(taught).state_dict()
    assert (record["status"], record["spend"]["updates"], record["spend"]["trained_tokens"]) == ("finished", 0, 0)
    assert (record["split"]["passes"], record["split"]["kept_completions"]) == (0, 0)
    assert not any(record["split"]["training"].values()) and record["spend"]["completions"] > 0
    assert all(torch.equal(start[name], x) for name, x in done.weights.items())
    assert {row["fraction"] for row in record["evals"]} == {0.0, 0.5, 1.0}
    assert "loss" not in done.lines[-1] and "first_update_max_abs_logratio" not in record["checks"]


def test_a_budget_smaller_than_a_group_samples_nothing(taught: Path, out: Path) -> None:
    done = rft(taught, out, "little", "eval_fractions=0,1", budget="completions=3", eval_limit=1)
    assert done.record["status"] == "finished" and done.lines == [] and not any(done.record["spend"].values())


# ---------------------------------------------------------------- what is refused


ALGORITHM = """
from dataclasses import dataclass, replace

from algos import Algorithm


@dataclass(frozen=True, kw_only=True)
class Odd(Algorithm):
    @property
    def needs(self):
        return frozenset({needs})

    def schedule(self, base):
        return replace(base, {schedule})

    def credit(self, rollouts):
        raise NotImplementedError

    def loss(self, batch, fresh):
        raise NotImplementedError
"""

REFUSED = [
    # needs, the schedule, what the line must name
    ("", "source='dataset'", "source=dataset .*group_size=4"),
    ("", "source='dataset', group_size=2", "source=dataset"),
    ("", "source='start'", "no source 'start'; valid: live, initial, dataset"),
    ("'values'", "", "critic=none"),
    ("", "critic='shared'", "critic=shared"),
    ("", "critic_warmup=1", "critic_warmup"),
]


@pytest.mark.parametrize(("needs", "schedule", "named"), REFUSED)
def test_a_schedule_that_cannot_be_drawn_is_refused(
    taught: Path, tmp_path: Path, needs: str, schedule: str, named: str
) -> None:
    file = tmp_path / "odd.py"
    file.write_text(ALGORITHM.format(needs=f"[{needs}]", schedule=schedule))
    with pytest.raises(ValueError, match=named) as said:
        go(taught, tmp_path / "out", "x", algo_name=str(file))
    assert "\n" not in str(said.value) and str(said.value).startswith("algo")
    assert not (tmp_path / "out").exists()
