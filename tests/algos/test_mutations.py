"""The tests can fail: each seeded bug of `mutants.py` makes at least one of them fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.algos.mutants import MUTANTS
from tests.helpers import ROOT

OPS = ("advantages", "ratios", "kl", "aggregate", "select", "values")
FAST = [f"tests/algos/test_{name}.py" for name in (*OPS, "process", "grpo", "ppo", "rft", "dpo", "paradigm")]
PASSED, FAILED = 0, 1  # pytest's exit codes; 2 and above: it could not run


def run_tests(mutant: str) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-x", "-p", "tests.algos.mutants", "-p", "no:cacheprovider", "-m", "not slow"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *FAST],
        cwd=ROOT,
        env={**os.environ, "MUTANT": mutant},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_without_a_mutant_all_pass() -> None:
    run = run_tests("")
    assert run.returncode == PASSED, run.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(mutant: str) -> None:
    run = run_tests(mutant)
    assert run.returncode == FAILED, f"{mutant} survived: {run.stdout[-3000:]}{run.stderr[-3000:]}"
