"""Scores through EleutherAI's lm-evaluation-harness: the only module that imports lm_eval.

lm-eval builds the requests and averages the results; the text comes from the caller's `generate` (`score_lm_eval`) or
from lm-eval's own `hf` model over a checkpoint (`score_hf`).  Neither changes the state of the process: random states,
log levels and progress bars are as before.  `simple_evaluate` is not used: it would reseed all random generators and
spend seconds on describing the machine.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import lm_eval.api.task
import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from tqdm import tqdm

from evals.scoring import task_files
from evals.scoring.scorer import (
    Completion,
    Decoding,
    EvalRow,
    Generate,
    ProblemOutcome,
    Scores,
    complete,
    decoding_of,
    measured,
    outcomes_of,
    rows_of,
)
from evals.scoring.stock_tasks import StockTasks
from evals.scoring.task_files import TaskFile, Text
from evals.verification.transcript import turns_of

Loglikelihood = Callable[[list[tuple[str, str]]], list[tuple[float, bool]]]
"""(context, continuation) pairs -> (log-probability of the continuation, is it the greedy one)."""

FEWSHOT_SEED = 1234  # lm-eval's own default: the same few-shot examples as its command line
BOOTSTRAP = 1000  # for stock metrics that are not means; the error of a mean is in closed form


def score_lm_eval(
    folder: str | Path,
    names: Sequence[str],
    generate: Generate,
    outcomes: str = "outcomes/{task}.jsonl",
    loglikelihood: Loglikelihood | None = None,
    stock: StockTasks | None = None,
) -> Scores:
    """The sets `names` of a folder of task files, scored by lm-eval; rows and outcomes as `score_direct` gives them.

    A name that is not in the folder is one of lm-eval's stock tasks (or groups), or of a user's YAML (`stock` says
    where): it runs as it is, with its own prompt, filters and metrics, as out-of-domain rows after ours; it has no
    outcomes and may need the network.
    Tasks that compare likelihoods need `loglikelihood`.
    """
    known = set(task_files.names(folder))
    files = {name: task_files.read(folder, name) for name in names if name in known}
    others = [name for name in names if name not in known]
    with undisturbed():
        tasks = _ours(folder, list(files))
        if others:
            tasks |= _stock(replace(stock or StockTasks(), names=tuple(others)), sorted(known))
        return _evaluate(_Engine(generate, loglikelihood, files), tasks, files, outcomes)


def score_hf(
    checkpoint: str | Path,
    folder: str | Path,
    names: Sequence[str],
    *,
    batch_size: int = 32,
    device: str = "cpu",
    dtype: str = "auto",
    max_length: int | None = None,
    outcomes: str = "outcomes/{task}.jsonl",
) -> Scores:
    """The same sets by lm-eval's own `hf` model over a `save_pretrained` folder: what its command line reports.

    `dtype` "auto" is the checkpoint's.  `max_length` (tokens of prompt and completion) is the model's context by
    default; a set that does not fit is an error, where lm-eval would silently drop the head of its prompts.
    `hf` does not say whether a completion ended, so there are no rates of truncated and unparseable ones.
    """
    from lm_eval.models.huggingface import HFLM
    from transformers.utils import logging as hf_logging

    class Hf(HFLM):
        def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
            return [Text(text, None) for text in super().generate_until(requests, disable_tqdm=True)]

    files = {name: task_files.read(folder, name) for name in names}
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    with undisturbed():
        hf_logging.set_verbosity_error()
        hf_logging.disable_progress_bar()
        try:
            sizes: dict[str, Any] = {"batch_size": batch_size, "max_length": max_length}
            model = Hf(str(checkpoint), device=device, dtype=dtype, trust_remote_code=False, **sizes)
            _decode_as_asked(model.model)
            for file in files.values():
                _check_fits(file, model)
            return _evaluate(model, _ours(folder, list(files)), files, outcomes)
        finally:
            hf_logging.set_verbosity(verbosity)
            if bars:
                hf_logging.enable_progress_bar()


def _decode_as_asked(model: Any) -> None:
    """Of the checkpoint's generation_config the token ids alone: the sets say how they are decoded, and its beams,
    penalties or forced tokens would change the text."""
    from transformers import GenerationConfig

    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    model.generation_config = GenerationConfig(**{name: getattr(model.generation_config, name, None) for name in ids})


def _check_fits(file: TaskFile, model: Any) -> None:
    longest = max(len(model.tok_encode(prompt)) for prompt in file.prompts)
    if longest + file.max_new_tokens > model.max_length:
        raise ValueError(
            f"{file.name!r} needs {longest} tokens of prompt and {file.max_new_tokens} of completion, "
            f"but the model has {model.max_length}: write the set with fewer, or raise max_length"
        )


# ---------------------------------------------------------------- the model that lm-eval sees


class _Engine(LM):
    """The caller's `generate`, called once per set."""

    def __init__(self, generate: Generate, loglikelihood: Loglikelihood | None, files: dict[str, TaskFile]) -> None:
        super().__init__()
        self._generate, self._loglikelihood, self._files = generate, loglikelihood, files

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        by_decoding: dict[Decoding, list[int]] = {}  # the stream names the task, so that no two tasks share an entry
        for i, request in enumerate(requests):
            by_decoding.setdefault(self._decoding(request), []).append(i)
        texts: dict[int, str] = {}
        for decoding, rows in by_decoding.items():
            completions = complete(self._generate, [requests[i].args[0] for i in rows], decoding)
            texts |= {i: Text(c.text, c.ended, turns_of(c.text)) for i, c in zip(rows, completions, strict=True)}
        return [texts[i] for i in range(len(requests))]

    def _decoding(self, request: Instance) -> Decoding:
        if request.task_name in self._files:
            return decoding_of(self._files[request.task_name])
        wanted = normalize_gen_kwargs(request.args[1])
        temperature = wanted["temperature"] if wanted["do_sample"] else 0.0
        return Decoding(temperature, wanted["max_gen_toks"], tuple(wanted["until"]), f"eval/{request.task_name}")

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        if self._loglikelihood is None:
            raise NotImplementedError(f"{requests[0].task_name!r} compares likelihoods, and no loglikelihood was given")
        return self._loglikelihood([request.args for request in requests])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        raise NotImplementedError(f"{requests[0].task_name!r} measures perplexity, which this scorer does not")


# ---------------------------------------------------------------- tasks, and what lm-eval made of them


def _ours(folder: str | Path, names: list[str]) -> dict[str, Any]:
    """The lm-eval tasks of task files."""
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return _ready(manager.load(names)["tasks"]) if names else {}


@cache
def _stock_manager(include: tuple[str, ...] = (), defaults: bool = True) -> TaskManager:
    """lm-eval's own tasks, and those of folders.  Indexing the own ones takes some 10 s, once per process."""
    return TaskManager(include_path=list(include) or None, include_defaults=defaults)


def check_stock(stock: StockTasks, ours: Sequence[str] = ()) -> None:
    """Raises ValueError where a name is none of lm-eval's tasks (nor one of `ours`), or both."""
    if taken := sorted(set(stock.names) & set(ours)):
        raise ValueError(f"eval_tasks: an evaluation of the task is called '{taken[0]}' too")
    if unknown := [n for n in stock.names if n not in _stock_manager(stock.include, stock.defaults).all_tasks]:
        raise ValueError(
            f"eval_tasks: no task {', '.join(unknown)}: neither one of {', '.join(ours)}, a benchmark, a FILE.yaml, "
            "a folder, nor one of lm-eval's"
        )


def _stock(stock: StockTasks, ours: list[str]) -> dict[str, Any]:
    check_stock(stock, ours)
    return _ready(_stock_manager(stock.include, stock.defaults).load(list(stock.names))["tasks"])


def _ready(tasks: dict[str, Any]) -> dict[str, Any]:
    for task in tasks.values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return tasks


def _evaluate(model: LM, tasks: dict[str, Any], files: dict[str, TaskFile], outcomes: str) -> Scores:
    evaluated = evaluator.evaluate(model, {"tasks": tasks}, bootstrap_iters=BOOTSTRAP, log_samples=False)
    rows: list[EvalRow] = []
    by_set: dict[str, list[ProblemOutcome]] = {}
    for name, file in files.items():
        texts: list[Any] = [instance.resps[0] for instance in tasks[name].instances]
        completions, verdicts = [Completion(t.transcript, t.ended) for t in texts], [t.verdict for t in texts]
        by_set[name] = outcomes_of(file, completions, verdicts)
        ours = rows_of(file, by_set[name], "lm_eval", outcomes.format(task=name))
        rows += [_aggregated(row, evaluated["results"][name]) for row in ours]
        rows += measured(ours[-1], task_files.build(file.spec), file, completions, verdicts)
    for name in tasks:
        if name not in files:
            rows += _stock_rows(tasks[name], evaluated["results"][name])
    return Scores(rows, by_set)


def _aggregated(row: EvalRow, result: dict[str, Any]) -> EvalRow:
    """The row with the numbers that lm-eval aggregated, which must equal those of the verdicts."""
    if row["metric"] != "exact_match":
        return row
    value, stderr = _number(result, "exact_match", row["filter"])
    pairs = [(value, row["value"]), (stderr or 0.0, row["stderr"] or 0.0), (result["sample_len"], row["n"])]
    if any(abs(theirs - ours) > 1e-9 for theirs, ours in pairs):
        raise RuntimeError(f"lm-eval's {row['task']} differs from that of its verdicts: {value} +- {stderr}, {row}")
    return {**row, "value": value, "stderr": stderr}


def _number(result: dict[str, Any], metric: str, filter: str) -> tuple[float, float | None]:
    stderr = result.get(f"{metric}_stderr,{filter}")
    return float(result[f"{metric},{filter}"]), float(stderr) if isinstance(stderr, float) else None


def _stock_rows(task: Any, result: dict[str, Any]) -> list[EvalRow]:
    """A stock task's numbers under its own metric and filter names."""
    wanted = task.config.generation_kwargs if task.OUTPUT_TYPE == "generate_until" else {"do_sample": False}
    decoding = normalize_gen_kwargs(wanted)
    temperature = decoding["temperature"] if decoding["do_sample"] else 0.0
    rows: list[EvalRow] = []
    for key, value in result.items():
        metric, comma, filter = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        rows.append(
            {
                "task": task.task_name,
                "version": str(task.VERSION),
                "domain": "out",
                "decoding": "sampled" if temperature > 0 else "greedy",
                "temperature": temperature,
                "filter": filter,
                "metric": metric,
                "value": float(value),
                "stderr": _number(result, metric, filter)[1],
                "n": result["sample_len"],
                "scorer": "lm_eval",
                "outcomes": "",
            }
        )
    return rows


# ---------------------------------------------------------------- process state


@contextmanager
def undisturbed() -> Iterator[None]:
    """Random states (Python, numpy, torch, CUDA where it was in use) and lm-eval's log level are restored at the
    end; meanwhile lm-eval logs only errors and shows no progress bar."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    progress_bar = lm_eval.api.task.tqdm
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = progress_bar
        logger.setLevel(level)
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
