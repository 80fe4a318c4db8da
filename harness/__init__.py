"""The harness: how algorithms are run, measured and compared.

accounting   1   budgets, FLOPs, phases, bytes
processes    1   the processes that share a run: gather, sum, signs of life
config       2   the configuration of a run, and the experiment that it describes
records      2   record.json: schema, reading, writing, earlier versions
models       3   language models: loading, packed forward passes, policy, value model, pretraining
studies      3   studies: arms x seeds, planned runs, status, launcher
rollout      4   prompts -> completions
planner      4   predicted memory and cost of a run
reports      4   records -> analysis -> tables, figures and pages
rewards      5   completions -> rewards
pipelines    5   several runs as one file: stages, one budget, what each brought
training     6   the training loop, and a run from start to end
bench        7   speed and memory, alone and against TRL
api          7   `run`, `compare`, `load_record`, `load_study`: what this package gives
cli          8   commands and console output (`__main__`: python -m harness)

The number is the level: a package imports only packages of lower levels (`lint-imports`, `scripts/structure.py`).

Public are the names of `__all__`; everything else may change.

    import harness

    result = harness.run("grpo", group_size=16)               # harness run --algo grpo --group-size 16
    study = harness.compare(["grpo", "ppo"], seeds=3)         # harness compare --algos grpo,ppo --seeds 3
    study = harness.load_study("results/compare-grpo-ppo")    # study.runs, study.curves: pandas tables
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.accounting.threads import bound_spin

bound_spin(os.environ)  # here, because whatever imports torch for a run has imported this first

if TYPE_CHECKING:
    from harness.api.runs import RunResult, load_record, run
    from harness.api.studies import StudyResult, compare, load_study
    from harness.config.errors import RunFailed
    from harness.training.sitting.listener import RunListener

__all__ = [
    "RunFailed",
    "RunListener",
    "RunResult",
    "StudyResult",
    "compare",
    "load_record",
    "load_study",
    "run",
]

_PLACES = {  # imported when first asked for: `import harness` loads nothing
    "RunFailed": "harness.config.errors",
    "RunListener": "harness.training.sitting.listener",
    "RunResult": "harness.api.runs",
    "StudyResult": "harness.api.studies",
    "compare": "harness.api.studies",
    "load_record": "harness.api.runs",
    "load_study": "harness.api.studies",
    "run": "harness.api.runs",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
