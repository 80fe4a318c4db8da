"""Labels that are wrong now and then: which, how many, and what they leave alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evals.tasks import Problem
from evals.verification.verifier import Verdict
from harness.rewards.base import JudgedCompletions, RewardSource
from harness.rewards.label_noise import LabelNoise
from harness.training.trainer import Trainer
from tests.harness.rewards.test_shaping import rollouts
from tests.harness.training.test_run import go

PROBLEM = Problem("x", "1+1=", "2")
SHORT = ("eval_fractions=0,1", "eval_limit=4")


def flips(share: float, ordinal: int, prompts: int, group: int = 10, seed: int = 0) -> torch.Tensor:
    """Which completions of these draws are flipped, every other one being right.  Shape (prompts, group)."""
    n = prompts * group
    verdicts = [Verdict("correct", "correct", "2"), Verdict("wrong", "wrong", "3")] * (n // 2)
    answers = JudgedCompletions([PROBLEM] * n, [""] * n, verdicts, ordinal)
    r = rollouts((1,) * n, group)
    clean, _ = RewardSource().rate(r, answers)
    noisy, said = LabelNoise(share, seed).rate(r, answers)
    assert clean.reward_N is not None and noisy.reward_N is not None
    assert set(noisy.reward_N.tolist()) <= {0.0, 1.0}
    flipped_N = clean.reward_N != noisy.reward_N
    assert said == {"reward/flipped": float(flipped_N.double().mean())}
    return flipped_N.view(prompts, group)


def test_the_share_is_what_was_asked_for() -> None:
    """20,000 draws at each share, within 4.5 binomial deviations: by chance one in 150,000 falls outside."""
    for share in (0.05, 0.1, 0.2, 0.5):
        flipped = flips(share, 0, 2000)
        deviation = (share * (1 - share) / 20_000) ** 0.5
        assert abs(float(flipped.double().mean()) - share) < 4.5 * deviation
        right, wrong = flipped.flatten()[0::2], flipped.flatten()[1::2]  # the right and the wrong alike
        assert abs(float(right.double().mean()) - float(wrong.double().mean())) < 4.5 * 2 * deviation
    assert not flips(0.0, 0, 20).any()


def test_who_is_flipped_is_flipped_at_every_higher_share() -> None:
    low, mid, high = (flips(share, 7, 400) for share in (0.05, 0.1, 0.2))
    assert bool(((low <= mid) & (mid <= high)).all()) and low.sum() < mid.sum() < high.sum()


def test_flips_belong_to_draws_not_to_batches() -> None:
    whole = flips(0.2, 40, 30)
    assert torch.equal(whole, torch.cat([flips(0.2, 40, 13), flips(0.2, 53, 17)]))
    assert torch.equal(whole[:, :4], flips(0.2, 40, 30, group=4))
    assert not torch.equal(whole, flips(0.2, 41, 30)) and not torch.equal(whole, flips(0.2, 40, 30, seed=1))


@pytest.fixture(scope="module")
def noisy(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("noisy")
    return {s: go(taught, out, f"n{s}", *SHORT, f"reward_noise={s}", budget="completions=96") for s in (0, 0.2, 0.4)}


def test_verdicts_and_evaluation_stay_clean(noisy: Any) -> None:
    """The first round's completions are those of the run without noise; so are its verdicts and the start's scores."""
    clean, first, second = noisy[0], noisy[0.2], noisy[0.4]
    assert "reward/flipped" not in clean.lines[0]
    for name in ("accuracy/strict", "accuracy/lenient", "unparseable", "truncated", "num_tokens"):
        assert clean.lines[0][name] == first.lines[0][name] == second.lines[0][name]
    assert clean.lines[0]["reward"] == clean.lines[0]["accuracy/strict"]
    assert 0 < first.lines[0]["reward/flipped"] < second.lines[0]["reward/flipped"] < 0.7
    assert first.lines[0]["reward"] != first.lines[0]["accuracy/strict"]
    assert clean.scores(0.0) == first.scores(0.0)


@pytest.mark.parametrize("algo", ["grpo", "rft"])
def test_a_resumed_run_has_the_same_flips(algo: str, taught: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = (*SHORT, "reward_noise=0.3", "checkpoint_every=2", f"algo={algo}")
    whole = go(taught, tmp_path, "whole", *settings, budget="completions=96")
    explore = Trainer.collect_rollouts

    def explode(self: Trainer, groups: int) -> Any:
        if self.rounds == 3:
            raise RuntimeError("the power went")
        return explore(self, groups)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "collect_rollouts", explode)
        with pytest.raises(RuntimeError, match="the power went"):
            go(taught, tmp_path, "cut", *settings, budget="completions=96")
    cut = go(taught, tmp_path, "cut", *settings, "resume=true", budget="completions=96")
    assert cut.metrics == whole.metrics
    assert sum(line.get("reward/flipped", 0) for line in cut.lines[3:]) > 0
    weights = [(run.folder / "checkpoints/final/model.safetensors").read_bytes() for run in (cut, whole)]
    assert weights[0] == weights[1]
    assert json.loads((cut.folder / "record.json").read_text())["config"]["reward_noise"] == 0.3
