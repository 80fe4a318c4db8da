"""How long a run will take: from rounds of it, made in memory alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness.bench import round_probe
from harness.bench.round_probe import Measured, _whole, mean_length, measure, predicted
from harness.config.run_config import resolve
from harness.planner.command import setting_of
from harness.training.setup import prepare
from tests.helpers import close

WORDS = ["prompts=4", "max_new_tokens=8", "task.train_size=16", "task.test_size=8", "task.other_size=4"]
ROUND = Measured({"rollout": 2.0, "update": 3.0}, 10.0, 5.0, False, 32, 0.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "post-training-harness" / "rounds.json"


def setting(algo: str = "grpo", budget: str = "completions=5120", *words: str) -> Any:
    return setting_of(resolve({"algo_name": algo, "budget": budget}, list(words), None), 16)


def test_a_round_that_was_not_made_is_extrapolated_phase_by_phase() -> None:
    """a + b p in every phase: 1 s and 0.5 s a prompt, and one that no prompt makes longer."""
    affine = [(p, {"rollout": 1 + 0.5 * p, "reward": 0.2}) for p in (4, 8)]
    close(_whole(affine, 32)["rollout"], 1 + 0.5 * 32)
    close(_whole(affine, 32)["reward"], 0.2)
    assert _whole(affine, 8) == affine[-1][1]
    assert _whole([(1, {"rollout": 2.0})], 32) == {"rollout": 64.0}  # one point: in proportion, at most
    assert _whole([(4, {"rollout": 2.0}), (8, {"rollout": 1.0})], 32) == {"rollout": 1.0}  # noise gains nothing


def test_rounds_at_the_length_of_the_run_and_its_evaluations() -> None:
    """10 rounds of 512: rollouts grow with the completions, what reads them with prompts and completions."""
    s = setting("grpo", "completions=5120", "eval_fractions=0,1")
    own = 19.0  # nano's defaults file says so
    each = 2.0 * own / 10
    expected = 10 * (each + 3.0 * (5 + own) / (5 + 10)) + 2 * 100 * each / 512 * round_probe.SCORING
    found = predicted(ROUND, s, 100)
    close(found.seconds, expected)
    assert found.rounds == 10 and "completions of 19 tokens" in found.how


def test_a_budget_in_seconds_is_its_own_time() -> None:
    found = predicted(ROUND, setting("grpo", "device_seconds=60", "eval_fractions="), 100)
    close(found.seconds, 60.0)


def test_training_after_sampling_is_counted_with_its_side_branches() -> None:
    """RFT: three passes over everything at the most, and a branch at half of the budget half as long."""
    plain, curve = (predicted(ROUND, setting("rft", "completions=5120", f"eval_fractions={x}"), 0) for x in ("", "0.5"))
    sampling, update = 10 * 2.0 * 1.9, 10 * 3.0 * 24 / 15
    close(plain.seconds, sampling + update)
    close(curve.seconds, sampling + 1.5 * update)


def test_the_length_of_completions_is_that_of_finished_runs(tmp_path: Path) -> None:
    s = setting()
    for i, (algo, tokens, status) in enumerate(
        [("grpo", 300, "finished"), ("grpo", 900, "failed"), ("ppo", 100, "finished")]
    ):
        folder = tmp_path / "results" / f"run{i}"
        folder.mkdir(parents=True)
        config = {"model": "nano", "task_name": "arithmetic"}
        record = {"status": status, "algo": algo, "seed": 0, "budget": {}, "evals": [], "config": config,
                  "spend": {"generated_tokens": tokens, "completions": 10},
                  "environment": {"model": {}}}  # fmt: skip
        (folder / "record.json").write_text(json.dumps(record))
    assert mean_length(ROUND, s)[0] == 30
    assert mean_length(ROUND, setting("dr_grpo"))[0] == 20  # of none of its own: of all
    assert mean_length(ROUND, dataclasses.replace(s, config=dataclasses.replace(s.config, out="elsewhere")))[0] == 19


def test_rounds_are_made_and_kept(taught: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve({"model": str(taught), "group_size": 4, "out": str(tmp_path / "out")}, WORDS, None)
    run, plan = prepare(config), setting_of(config, 16)
    found = round_probe.known(run, plan)
    assert found.prompts == 4 and not found.at_limit and 1 <= found.completion_tokens <= 8
    assert {"rollout", "update"} <= found.seconds.keys() and all(t > 0 for t in found.seconds.values())
    assert not (tmp_path / "out").exists()
    if found.waited is not None and found.waited <= round_probe.SHARED_CORES:
        assert cache.is_file()
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({round_probe._key(run, plan): dataclasses.asdict(ROUND)}))
    monkeypatch.setattr(round_probe, "measure", lambda trainer: pytest.fail("measured again"))
    assert round_probe.known(run, plan) == ROUND


def test_long_completions_are_cut_and_taken_to_be_at_their_limit(taught: Path) -> None:
    config = resolve({"model": str(taught), "group_size": 4}, [*WORDS, "max_new_tokens=48"], None)
    found = measure(prepare(config).trainer, limit=0.0)
    assert found.at_limit and found.completion_tokens == 48 and found.prompts == 1


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"model": "Qwen/none"}, "the weights of Qwen/none are not in a folder here"),
        ({"device": "cuda"}, "there is no CUDA device here; --gpu NAME"),
        ({"task_name": "qa"}, "give --train-file"),
    ],
)
def test_what_cannot_be_measured_is_said(flags: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    s = setting()
    found = round_probe.for_plan(
        dataclasses.replace(s, config=resolve(flags, [], None), device=flags.get("device", "cpu"))
    )
    assert found.seconds is None and why in found.how
