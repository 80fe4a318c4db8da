"""How long a run will take here: a few rounds of it, in memory alone, for about five seconds.

Rounds of 1, 2, 4, ... prompts are made by the run's own trainer until the whole round has been made or the time is
over; a whole round that was not made is extrapolated from the two largest that were, phase by phase, since each has a
part that is paid once and a part that is paid per prompt.  Where completions of full length would take too long, they
are cut at CUT tokens, and every completion of the run is taken to be at its limit.

Completions get longer, or shorter, while a run trains.  Their mean length over the whole run is taken from finished
runs of this model and task under OUT, else from what the model's own defaults file says it is, else from the probe.

What was measured is kept (`~/.cache/post-training-harness/rounds.json`): for the same machine, threads, torch, model
and shape of a round it is not measured again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.accounting.budget import FILLED, SHARED, Budget
from harness.accounting.format import count
from harness.accounting.round_sizing import RoundSizer
from harness.accounting.threads import Waiting
from harness.config.rewards import LEARNED
from harness.config.start_models import embedded, planner_facts
from harness.models.foreign_code import reason_of
from harness.planner.compute import cost_of, recorded_length
from harness.planner.setting import Setting
from harness.processes.group import current
from harness.records.environment import environment
from harness.records.io import sha256, write_json
from harness.training.batching import updates
from harness.training.setup import PreparedRun
from harness.training.trainer import Trainer

SECONDS = 5.0
CUT = 16  # tokens, where completions of full length would take too long
SCORING = 1.6  # an evaluation's seconds per completion, over a rollout's, in results/readme: verified twice, and filed
SHARED_CORES = 0.25  # of their time threads waited for a core: such a measurement is told, and not kept


@dataclass(frozen=True)
class Measured:
    """A whole round of this run, here."""

    seconds: dict[str, float]  # by phase
    completion_tokens: float  # mean
    prompt_tokens: float
    at_limit: bool  # completions were cut, and are taken to be at their limit
    prompts: int  # of the largest round that was made
    waited: float | None  # share of their time that the threads waited for a core

    @property
    def how(self) -> str:
        shared = self.waited is not None and self.waited > SHARED_CORES
        return f"measured here{', beside other work' if shared else ''}"


@dataclass(frozen=True)
class Expected:
    """What the run will take.  None where it is not known; `how` says why, or by what it is."""

    how: str
    seconds: float | None = None  # of rounds and evaluations, without starting up
    rounds: float | None = None
    flops: float | None = None


def expected(run: PreparedRun, setting: Setting) -> Expected:
    """Of a prepared run, whose trainer may not be used after this: it has been trained with."""
    reason = "a learned reward is trained first" if run.config.reward in LEARNED else None
    if current().size > 1:  # each would end its five seconds at another round, and wait for the others
        reason = "several processes share the run"
    if reason is None:
        try:
            measured = known(run, setting)
        except (RuntimeError, ValueError, MemoryError) as error:  # out of memory, a user's own code
            reason = reason_of(error)
    if reason is not None:
        cost = cost_of(setting)
        return Expected(f"not measured: {reason}", None, cost.rounds, cost.flops)
    return predicted(measured, setting, sum(len(s.problems) for s in run.eval_sets))


def predicted(m: Measured, s: Setting, problems: int) -> Expected:
    """From a round that was measured to the run: at the mean length of its completions, with its evaluations."""
    own, source = mean_length(m, s)
    scaled = dataclasses.replace(s, prompt=max(1, round(m.prompt_tokens)), config=_with_limit(s, own))
    cost = cost_of(scaled)
    grown, read = own / m.completion_tokens, (m.prompt_tokens + own) / (m.prompt_tokens + m.completion_tokens)
    phases = {name: t * (grown if name == "rollout" else read) for name, t in m.seconds.items()}
    sampling = sum(t for name, t in phases.items() if name != "update")
    budget, live = Budget.parse(s.config.budget), s.schedule.source != "initial"
    if live:
        round_seconds = sampling + phases.get("update", 0.0)
        rounds = budget.limit / round_seconds if budget.unit == "device_seconds" else (cost.rounds or 0.0)
        trained = rounds * round_seconds
    else:
        share = s.schedule.sampling_fraction
        rounds = budget.limit * share / sampling if budget.unit == "device_seconds" else (cost.rounds or 0.0)
        after = rounds * phases.get("update", 0.0) / (s.schedule.epochs if budget.unit in FILLED else 1)
        after = after if budget.unit not in SHARED else rounds * sampling * (1 - share) / share
        branches = sum(f for f in s.config.eval_fractions if 0 < f < 1)  # each is trained from the start
        trained = rounds * sampling + after * (1 + branches)
    rows = s.schedule.prompts * s.schedule.group_size
    each = phases.get("rollout", 0.0) / rows * SCORING if s.sampled else phases.get("update", 0.0) / rows
    evaluated = len(s.config.eval_fractions) * problems * each
    how = (
        f"{count(rounds)} rounds of {sampling + phases.get('update', 0.0):.2f} s, {m.how}, and {evaluated:.0f} s of "
        f"evaluation; completions of {own:.0f} tokens ({source})"
    )
    return Expected(how, trained + evaluated, rounds, cost.flops)


def _with_limit(s: Setting, own: float) -> Any:
    return dataclasses.replace(s.config, max_new_tokens=max(2, round(own)))


def mean_length(m: Measured, s: Setting) -> tuple[float, str]:
    """Tokens of a completion, over the whole run, and whence that is known."""
    if not s.sampled:
        return m.completion_tokens, "written solutions"
    if recorded := recorded_length(Path(s.config.out), s.config.model, s.config.task_name, s.config.algo_name):
        return recorded, f"as in finished runs under {s.config.out}"
    facts = planner_facts(s.config.model).get("completion_tokens", {})
    if s.config.task_name in facts:
        return float(facts[s.config.task_name]), "as its model's defaults file says"
    if m.at_limit:
        return float(s.config.max_new_tokens), "their limit"
    return m.completion_tokens, "as at the start"


# ---------------------------------------------------------------- measuring


def known(run: PreparedRun, setting: Setting) -> Measured:
    """From the cache, else measured now and kept."""
    key, file = _key(run, setting), cache_file()
    try:
        kept = json.loads(file.read_text())
        return Measured(**kept[key])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    measured = measure(run.trainer)
    if measured.waited is None or measured.waited <= SHARED_CORES:
        _keep(file, key, measured)
    return measured


def cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "post-training-harness", "rounds.json")


def _keep(file: Path, key: str, measured: Measured) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            kept = {}
        write_json(file, {**kept, key: dataclasses.asdict(measured)})
    except OSError:  # a home that cannot be written: it is measured again next time
        pass


def _key(run: PreparedRun, s: Setting) -> str:
    device = str(run.trainer.policy.device)
    here = environment(device, torch.get_num_threads())
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else here["cpu"]
    shape = ("prompts", "group_size", "max_new_tokens", "temperature", "dtype", "micro_batch_tokens",
             "rollout_batch_size", "gradient_checkpointing", "optimizer", "reward", "task_name")  # fmt: skip
    config = run.record["config"]
    identity = {
        "machine": [name, device, os.cpu_count(), torch.get_num_threads(), here["packages"]["torch"]],
        "commit": here["commit"],
        "model": run.record["environment"]["model"],
        "algo": [config["algo_name"], config["algo"], config["schedule"], config["task"]],
        "shape": {field: config[field] for field in shape},
    }
    return sha256(json.dumps(identity, sort_keys=True, default=str).encode())[:32]


def measure(trainer: Trainer, limit: float = SECONDS) -> Measured:
    """`trainer` has been trained with after this."""
    began, whole = time.perf_counter(), trainer.schedule.prompts
    trainer.round_sizer = RoundSizer(Budget("prompts", 1e15), whole, 1.0)
    full, waiting = trainer.sampling.max_new_tokens, Waiting()
    cut = trainer.schedule.source != "dataset" and full > CUT
    if cut:
        _limit_tokens(trainer, CUT)
        _round(trainer, 1)  # what the first round alone pays
        at_cut = _round(trainer, 1)
        if sum(at_cut[0].values()) * full / CUT * 4 < limit:
            _limit_tokens(trainer, full)
            cut = False
    rounds: list[tuple[int, dict[str, float]]] = []
    prompts, own, prompt = 1, 1.0, 1.0
    while True:
        started = time.perf_counter()
        seconds, own, prompt = _round(trainer, prompts)
        rounds.append((prompts, seconds))
        now = time.perf_counter()
        if prompts == whole or (now - began) + 2 * (now - started) > limit:
            break
        prompts = min(2 * prompts, whole)
    if prompts == whole and time.perf_counter() - began + sum(rounds[-1][1].values()) < limit:
        seconds, own, prompt = _round(trainer, whole)
        rounds.append((whole, {k: (seconds.get(k, t) + t) / 2 for k, t in rounds.pop()[1].items()}))
    estimate = _whole(rounds, whole)
    if cut:
        estimate = {
            k: t * (full / own if k == "rollout" else (prompt + full) / (prompt + own)) for k, t in estimate.items()
        }
        own = float(full)
    return Measured(estimate, own, prompt, cut, prompts, waiting.share())


def _limit_tokens(trainer: Trainer, tokens: int) -> None:
    trainer.sampling = dataclasses.replace(trainer.sampling, max_new_tokens=tokens)
    trainer.completions = dataclasses.replace(trainer.completions, sampling=trainer.sampling)  # type: ignore[type-var]


def _round(trainer: Trainer, prompts: int) -> tuple[dict[str, float], float, float]:
    """Seconds by phase, mean tokens of a completion, mean tokens of a prompt."""
    before = {name: phase.seconds for name, phase in trainer.profiler.phases.items()}
    ordinal = trainer.ordinal
    rollouts = trainer.collect_rollouts(prompts).rollouts
    credit = trainer.algo.credit(rollouts)
    with trainer.profiler("update"):
        parts = updates(rollouts, credit, trainer.schedule, trainer.sampling.max_new_tokens, trainer.micro_batch_tokens,
                        trainer.prompt_stream.seed, ordinal)  # fmt: skip
        trainer.update(parts, on_policy=False)
    after = {name: phase.seconds for name, phase in trainer.profiler.phases.items()}
    seconds = {name: t - before.get(name, 0.0) for name, t in after.items() if t > before.get(name, 0.0)}
    own = float(rollouts.completion_mask_NT.sum(1).float().mean())
    return seconds, own, float(rollouts.attention_mask_NS.sum(1).float().mean()) - own


def _whole(rounds: list[tuple[int, dict[str, float]]], prompts: int) -> dict[str, float]:
    """The seconds of a round of so many prompts: those of the last, and the slope between the last two beyond it."""
    made, last = rounds[-1]
    if made == prompts:
        return last
    if len(rounds) == 1:
        return {name: t * prompts / made for name, t in last.items()}
    earlier, first = rounds[-2]
    slopes = {name: max(0.0, (t - first.get(name, 0.0)) / (made - earlier)) for name, t in last.items()}
    return {name: t + slopes[name] * (prompts - made) for name, t in last.items()}


def for_plan(setting: Setting) -> Expected:
    """What a planned run will take here.  Nothing is downloaded: a model that lies here is measured, another is not."""
    from harness.training.setup import prepare

    config = setting.config
    folder = embedded(config.model) or Path(config.model)
    if setting.cuda and not torch.cuda.is_available():
        return Expected("not measured: there is no CUDA device here; --gpu NAME estimates from published peaks")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        return Expected(f"not measured: the weights of {config.model} are not in a folder here")
    try:
        return expected(prepare(config), setting)
    except ValueError as error:  # e.g. data that is not here
        return Expected(f"not measured: {error}")
