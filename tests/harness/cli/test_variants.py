"""Variants by name in every command that takes an algorithm."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import algos
from algos.grpo import GRPO
from harness.cli import main
from harness.training.loop.processes import check_shared
from tests.harness.tiny_models import SETTINGS

Call = Callable[..., tuple[int, str, str]]
NAMES = ["clip_cov", "dapo", "gspo", "lead", "rloo"]  # rows and files; every name: tests/algos/test_variants.py
BUDGET = ["--budget", "completions=32", "--set", "eval_fractions=1"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`harness WORDS` in this process, from an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


@pytest.mark.parametrize("name", NAMES)
def test_two_rounds_and_a_record_that_names_it(call: Call, taught: Path, name: str) -> None:
    sizes = [word for s in SETTINGS for word in ("--set", s)]
    words = ["run", "--algo", name, "--model", str(taught), *BUDGET, *sizes, "--set", "algo.minibatches=2", "--quiet"]
    assert call(*words) == (0, "", "")
    folder = Path(f"results/{name}-arithmetic-s0")
    record = json.loads((folder / "record.json").read_text())
    assert (record["status"], record["algo"], record["spend"]["updates"]) == ("finished", name, 4)
    fields = dataclasses.asdict(algos.load(name)(minibatches=2))
    assert record["config"]["algo_name"] == name and record["config"]["algo"] == fields
    assert call(*words, "--name", folder.name, "--resume")[0] == 0
    code, said, _ = call("report", str(folder))
    assert code == 0 and f"the final accuracy of {name} is" in said


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_knows_it(call: Call, name: str) -> None:
    code, said, _ = call("plan", "--algo", name, "--json", "--no-measure")
    plan = json.loads(said)
    assert code == 0 and plan["algo"] == name
    held = plan["phases"]["rollout"]["parts"]["reference"] > 0
    assert held is ("reference" in algos.load(name)().needs)


def test_a_study_and_a_comparison_take_them(call: Call, taught: Path) -> None:
    arms = "".join(f'[arms.{name}]\nalgo = "{name}"\n' for name in NAMES)
    Path("s.toml").write_text(f'seeds = 1\n[base]\nmodel = "{taught}"\n{arms}')
    code, said, _ = call("ablate", "s.toml", "--dry-run")
    assert code == 0 and [f"--algo {name}" in said for name in NAMES] == [True] * len(NAMES)
    words = ["--model", str(taught), "--seeds", "1", "--set", "gspo.minibatches=4", "--dry-run"]
    code, said, _ = call("compare", "--algos", "grpo,gspo,dapo", *words)
    assert code == 0 and said.count("algo.minibatches=4") == 1 and "--algo dapo" in said


def test_an_arm_that_sets_what_its_variant_has_is_refused(call: Call, taught: Path) -> None:
    """The same configuration twice would be the same run twice."""
    arms = '[arms.a]\nalgo = "gspo"\n[arms.b]\nalgo.name = "gspo"\nalgo.clip_low = 3e-4\n'
    Path("s.toml").write_text(f'seeds = 1\n[base]\nmodel = "{taught}"\n{arms}')
    code, _, said = call("ablate", "s.toml", "--dry-run")
    assert code == 2 and "arms.b: changes nothing" in said


def run_of(call: Call, taught: Path, *words: str) -> dict[str, float]:
    """What a run of two rounds spent."""
    sizes = [word for s in SETTINGS for word in ("--set", s)]
    quiet = ["--model", str(taught), "--set", "eval_fractions=1", *sizes, "--quiet", "--name", "it"]
    code, _, said = call("run", *quiet, *words)
    assert code == 0, said
    return dict(json.loads(Path("results/it/record.json").read_text())["spend"])


def test_greedy_completions_are_charged_and_not_trained_on(call: Call, taught: Path) -> None:
    spend = run_of(
        call, taught, "--algo", "remax", "--group-size", "4", "--budget", "completions=40", "--set", "prompts=4"
    )
    assert spend["completions"] == spend["verifier_calls"] == 5 * spend["prompts"] <= 40
    assert spend["trained_tokens"] < spend["generated_tokens"]


def test_draws_that_a_budget_cannot_foresee_are_refused(call: Call, taught: Path) -> None:
    words = ["--algo", "dapo_dynamic", "--model", str(taught), "--budget", "flops=1e9", "--dry-run"]
    code, _, said = call("run", *words)
    assert code == 2 and "algo.draws: with a budget in flops" in said


def test_embeddings_over_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clustered = GRPO(baseline="leave_one_out", group_by="cluster")
    check_shared(clustered)
    monkeypatch.setattr("harness.training.loop.processes.current", lambda: SimpleNamespace(size=2))
    check_shared(GRPO(baseline="leave_one_out", group_by="cluster(of=text)"))
    with pytest.raises(ValueError, match="group_by=cluster, dra. need one process, not 2.*of=text"):
        check_shared(clustered)
