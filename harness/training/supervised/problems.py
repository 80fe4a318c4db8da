"""What a run trains on: its task's problems, or a file of traces."""

from __future__ import annotations

from collections.abc import Sequence

from evals.tasks import EvalSet, Problem, train_problems
from evals.tasks.traces import read_traces
from harness.config.experiment import Experiment
from harness.rollout.tokenization import PromptTokenizer
from harness.training.completions import with_solutions


def training_problems(
    experiment: Experiment, tokenizer: PromptTokenizer, eval_sets: Sequence[EvalSet]
) -> tuple[Sequence[Problem], list[str]]:
    """Those of the task or of a file of traces, and notices of what is left out.  Raises ValueError."""
    config, task, left_out = experiment.config, experiment.task, list[str]()
    problems = train_problems(task, config.seed)
    if config.data:
        tested = [p for s in eval_sets for p in s.problems]
        problems, left_out = read_traces(config.data, config.data_completion, task.name, problems, tested)
    if experiment.schedule.source == "dataset":
        problems, unused = with_solutions(task, problems, tokenizer)
        left_out += unused
    return problems, left_out
