"""Runs of DPO: offline as RFT's are, with pairs that stay together, and no reference but the sampler's own numbers."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.causal_lm import CausalLM
from harness.training import offline as stage
from harness.training.evaluation import Evaluator
from harness.training.offline import OfflineLoop
from tests.harness.training.test_run import Done, go, load, same_weights
from tests.helpers import close

END = "eval_fractions=1"
SHARP = ("lr=0.001", "decay=linear", "algo.epochs=2", "algo.beta=0.5")


def dpo(model: Path, out: Path, name: str, *settings: str, **flags: Any) -> Done:
    return go(model, out, name, *settings, algo_name="dpo", **flags)


def offline(done: Done) -> OfflineLoop:
    assert isinstance(done.run.loop, OfflineLoop)
    return done.run.loop


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dpo")


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    """The weights that were scored at each point of `base`'s curve."""
    return {}


@pytest.fixture(scope="module")
def base(taught: Path, out: Path, states: dict[str, dict[str, torch.Tensor]]) -> Done:
    """Six rounds of 4 x 4, which go one and a half times round the 16 problems, then two passes."""
    record = Evaluator.record

    def spy(self: Evaluator, fraction: float, *rest: Any) -> Any:
        states[f"{fraction:g}"] = copy.deepcopy(self.sampler.model.state_dict())
        return record(self, fraction, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "record", spy)
        return dpo(taught, out, "base", *SHARP, budget="completions=96")


def drawn(done: Done) -> list[tuple[int, bool, int]]:
    """Problem, right or wrong, and tokens of every completion, in the order in which they were sampled."""
    found = []
    for r in offline(done).replay:
        assert r.reward_N is not None
        found += list(
            zip(r.group_N.tolist(), (r.reward_N == 1).tolist(), r.completion_mask_NT.sum(1).tolist(), strict=True)
        )
    return found


def test_pairs_are_of_one_problem_over_all_its_draws(base: Done) -> None:
    """The i-th right with the i-th wrong one of the whole stream: min(right, wrong) of each problem."""
    kept, rows = offline(base).kept, drawn(base)
    assert kept is not None
    rollouts, credit = kept
    places = {place for place, _, _ in rows}
    counts = [[sum(p == place and right == x for p, x, _ in rows) for right in (True, False)] for place in places]
    pairs = sum(min(count) for count in counts)
    assert credit.pair_N is not None and 5 < pairs < sum(max(count) for count in counts)
    assert base.record["split"]["kept_completions"] == len(rollouts.group_N) == 2 * pairs
    for number in credit.pair_N.unique().tolist():
        here = credit.pair_N == number
        assert len(rollouts.group_N[here].unique()) == 1
        assert sorted(credit.advantage_NT[here][:, 0].tolist()) == [-1, 1]


def test_the_ledger_by_hand(base: Done) -> None:
    """Two passes over every pair, a forward and a backward; no reference is held, read or charged."""
    loop, record = offline(base), base.record
    assert loop.kept is not None and loop.trainer.policy.reference is None
    rollouts, _ = loop.kept
    groups = int(rollouts.group_N.max()) + 1
    assert record["spend"]["trained_tokens"] == 2 * int(rollouts.completion_mask_NT.sum())
    assert record["spend"]["updates"] == 2 * math.ceil(groups / 4)
    once = loop.trainer.flops.policy.read(rollouts.attention_mask_NS.sum(1).tolist())
    close(record["split"]["training"]["flops"], 2 * 3 * once)
    assert "reference" not in record["memory"]["parts"]
    assert record["checks"]["first_update_max_abs_logratio"] < 1e-4


def test_the_margin_grows_from_zero(base: Done, taught: Path, out: Path) -> None:
    """One update a pass: the first sees the start model, where m = 0; each later one a wider margin."""
    settings = (END, "lr=0.001", "algo.epochs=4", "algo.beta=0.5", "prompts=16")
    done = dpo(taught, out, "margins", *settings, budget="completions=96", eval_limit=1)
    passes = [line for line in done.lines if "loss" in line]
    margins = [line["rewards/margins"] for line in passes]
    close([passes[0]["loss"], margins[0]], [math.log(2), 0], rtol=0, atol=1e-4)
    assert len(passes) == 4 and margins == sorted(margins) and margins[-1] > 0.5
    assert passes[-1]["rewards/accuracies"] > 0.8 and passes[-1]["loss"] < 0.5
    assert "rewards/margins" not in done.lines[0]


def test_the_reference_is_the_start_model(base: Done, taught: Path) -> None:
    """What the sampler stored is what the start model says of the kept completions, read anew."""
    loop = offline(base)
    assert loop.kept is not None
    rollouts, _ = loop.kept
    start = copy.copy(loop.trainer.policy)
    start.lm = CausalLM(load(taught), loop.trainer.policy.accelerator.autocast)
    close(start.score(rollouts), rollouts.logp_NT, rtol=0, atol=1e-4)
    assert (loop.trainer.policy.score(rollouts) - rollouts.logp_NT).abs().max() > 0.01


def test_micro_batches_keep_pairs_and_change_nothing_but_rounding(
    base: Done, taught: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    split = stage.split

    def spy(*args: Any) -> Any:
        seen.append(split(*args))
        return seen[-1]

    monkeypatch.setattr(stage, "split", spy)
    small = dpo(taught, out, "small", END, *SHARP, "micro_batch_tokens=30", budget="completions=96", eval_limit=1)
    assert max(len(update) for update in seen) > 2
    for update in seen:
        for batch in update:
            assert batch.credit.pair_N is not None
            numbers = batch.credit.pair_N.tolist()
            assert all(numbers.count(number) == 2 for number in numbers)
    first = next(line for line in small.lines if "loss" in line)
    whole = next(line for line in base.lines if "loss" in line)
    for name in ("loss", "grad_norm", "rewards/margins"):
        close(first[name], whole[name], rtol=1e-4, atol=1e-5)


def test_a_point_of_the_curve_is_a_run_of_its_own(
    base: Done, taught: Path, out: Path, states: dict[str, dict[str, torch.Tensor]]
) -> None:
    half = dpo(taught, out, "half", END, *SHARP, budget="completions=48", eval_limit=1)
    assert all(torch.equal(states["0.5"][name], x) for name, x in half.weights.items())
    assert all(torch.equal(states["0"][name], x) for name, x in load(taught).state_dict().items())
    assert all(torch.equal(states["1"][name], x) for name, x in base.weights.items())
    assert not same_weights(half, base)
    alone = dpo(taught, out, "alone", END, *SHARP, budget="completions=96", eval_limit=1)
    assert same_weights(alone, base) and alone.metrics == base.metrics


@pytest.mark.parametrize("budget", ["trained_tokens=300", "updates=5", "flops=3e8"])
def test_training_fills_a_budget_that_it_spends(taught: Path, out: Path, budget: str) -> None:
    """To within a group of what was kept, and never over it."""
    done = dpo(taught, out, budget, END, budget=budget, eval_limit=1)
    unit, _, number = budget.partition("=")
    loop, limit, spend = offline(done), float(number), done.record["spend"]
    assert loop.kept is not None
    r = loop.kept[0]
    groups = [r.group_N == g for g in range(int(r.group_N.max()) + 1)]
    one = {
        "trained_tokens": max(float(r.completion_mask_NT[g].sum()) for g in groups),
        "updates": 0.0,
        "flops": max(loop.trainer.flops.update(r.attention_mask_NS[g].sum(1).tolist()) for g in groups),
    }[unit]
    assert limit - max(0.01 * limit, one) <= spend[unit] <= limit and spend["updates"] > 0


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_without_a_pair_the_start_model_stays(taught: Path, out: Path, tmp_path: Path, reward: float) -> None:
    file = tmp_path / "same.py"
    file.write_text(f"def same(problem, completion, verdict):\n    return {reward}\n")
    settings = {"budget": "completions=32", "reward": f"{file}:same", "eval_limit": 1}
    done = dpo(taught, out, f"same-{reward}", "eval_fractions=0,0.5,1", **settings)
    assert (done.record["status"], done.record["spend"]["updates"]) == ("finished", 0)
    assert all(torch.equal(load(taught).state_dict()[name], x) for name, x in done.weights.items())
