"""One algorithm at one shape, measured by phase in rounds of the real training loop, in its own process for its memory.

python -m harness.bench.workload WORKLOAD     as `Workload.dumps` writes it; the last line of the output is the result
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, random_reward
from harness.bench.vs_trl.process import OFFLINE
from harness.config.errors import RunFailed


@dataclass(frozen=True, kw_only=True)
class Workload:
    """An algorithm with its settings, a model's folder, and the shape of a round."""

    arm: str  # its name in tables
    algo: str
    settings: tuple[str, ...]  # `--set` words
    folder: str
    reward: str
    prompts: int
    group_size: int
    prompt_tokens: int  # minimum tokens of every prompt; 0: the task's own length
    max_new_tokens: int
    forced: bool  # every completion has exactly max_new_tokens tokens
    rounds: int  # measured rounds, after one warm-up round
    device: str
    dtype: str
    probe: str = ""  # a function `module:name` of (workload, trainer, measured), whose result is added

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Workload:
        fields = json.loads(text)
        return cls(**{**fields, "settings": tuple(fields["settings"])})


ARMS: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> algorithm and settings
    "grpo": ("grpo", ("algo.kl_coef=0",)),
    "grpo_kl": ("grpo", ()),
    "ppo_shared": ("ppo", ("algo.critic=shared", "algo.kl_coef=0")),
    "ppo": ("ppo", ("algo.kl_coef=0",)),
    "ppo_kl": ("ppo", ()),
    "online_rft": ("online_rft", ()),
    "rft": ("rft", ()),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a suite.  Raises ValueError, one line, on invalid values."""

    model: str
    arms: tuple[str, ...]
    prompts: int = 32
    group_size: int = 16
    prompt_tokens: int = 0
    max_new_tokens: int = 56
    rounds: int = 3
    most: int = 65536  # maximum tokens generated per round of `scale`
    device: str = "auto"
    dtype: str = "auto"
    settings: tuple[str, ...] = ()
    out: Path = Path("results/bench")

    def __post_init__(self) -> None:
        model_shapes.check(self.model)
        if wrong := [a for a in self.arms if a not in ARMS]:
            raise ValueError(f"arms: unknown {', '.join(wrong)}; valid: {', '.join(ARMS)}")
        for name, least in (
            ("prompts", 1),
            ("group_size", 1),
            ("prompt_tokens", 0),
            ("max_new_tokens", 1),
            ("rounds", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, not {getattr(self, name)}")

    def workload(
        self, arm: str, folder: Path, forced: bool = True, reward: str = random_reward.NAME, probe: str = ""
    ) -> Workload:
        algo, arm_settings = ARMS[arm]
        shape = {k: v for k, v in vars(self).items() if k in {f.name for f in dataclasses.fields(Workload)}}
        given = {**shape, "settings": (*arm_settings, *self.settings), "folder": str(folder)}
        return Workload(arm=arm, algo=algo, forced=forced, reward=reward, probe=probe, **given)


def run(work: Workload) -> dict[str, Any]:
    """The measurements, from a child process.  RunFailed with the last line of its stderr where it fails."""
    words = [sys.executable, "-m", "harness.bench.workload", work.dumps()]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **OFFLINE})
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()]
        raise RunFailed(f"{work.arm}: {last[-1].strip() if last else f'ended with {done.returncode}'}"[:300])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def config_of(work: Workload) -> Any:
    """The configuration of a run, with a budget for the measured rounds and the warm-up round."""
    from harness.config.run_config import resolve

    flags: dict[str, Any] = {
        "algo_name": work.algo,
        "model": work.folder,
        "reward": work.reward,
        "budget": f"prompts={work.prompts * (work.rounds + 1)}",
        "prompts": work.prompts,
        "group_size": work.group_size,
        "max_new_tokens": work.max_new_tokens,
        "lr": 1e-6,
        "warmup": 0,
        "decay": "constant",
        "device": work.device,
        "dtype": work.dtype,
        "eval_limit": 1,
        "keep_checkpoints": 0,
    }
    return resolve(flags, list(work.settings), None)


def prepare_run(work: Workload) -> Any:
    """The prepared run, over prompts of the given length."""
    from harness.rollout.prompts import PromptStream
    from harness.training.setup import prepare

    prepared = prepare(config_of(work))
    trainer = prepared.trainer
    if work.prompt_tokens:
        problems = [dataclasses.replace(p, prompt=_lengthened(p.prompt, work)) for p in trainer.prompt_stream.problems]
        trainer.prompt_stream = PromptStream(problems, trainer.prompt_stream.seed)
    if work.forced:
        force_full_length(trainer)
    return prepared


def force_full_length(trainer: Any) -> None:
    """Completions end only at the token limit: no end tokens, no stop strings."""
    trainer.sampler.ends = []
    trainer.sampling = dataclasses.replace(trainer.sampling, stop=())
    trainer.completions = dataclasses.replace(trainer.completions, sampling=trainer.sampling)


def _lengthened(prompt: str, work: Workload) -> str:
    """The prompt repeated to the given length: a character is a token of the benchmark's tokenizer."""
    return (prompt * (work.prompt_tokens // len(prompt) + 1))[-work.prompt_tokens :]


def measure(work: Workload) -> dict[str, Any]:
    """Run the rounds.  The first time in each phase is warm-up and left out."""
    import importlib

    import torch

    from harness.training.memory_check import memory_of

    prepared = prepare_run(work)
    trainer = prepared.trainer
    turns: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    before = trainer.profiler.as_dict()
    spent = [trainer.spend.as_dict()]
    while prepared.loop.train_round() is not None:
        after = trainer.profiler.as_dict()
        for name, phase in after.items():
            last = before.get(name, {"seconds": 0.0, "tokens": 0})
            if phase["seconds"] > last["seconds"]:
                turns[name].append({k: phase[k] - last[k] for k in ("seconds", "tokens")})
        before = after
        spent.append(trainer.spend.as_dict())
    device = trainer.policy.device
    cuda = device.type == "cuda"
    measured = {
        "turns": {name: phase_turns[1:] or phase_turns for name, phase_turns in turns.items()},
        "peaks": {name: phase["peak_bytes"] for name, phase in before.items() if phase["peak_bytes"]},
        "memory": memory_of(trainer),
        "spend": spent[-1],
        "flops_a_round": (spent[-1]["flops"] - spent[1]["flops"]) / max(len(spent) - 2, 1),
        "checks": dict(trainer.checks),
        "reads": "packed, varlen" if trainer.policy.lm.varlen else "packed" if trainer.policy.lm.packs else "padded",
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "threads": torch.get_num_threads(),
    }
    if work.probe:
        module, _, name = work.probe.partition(":")
        measured["probe"] = getattr(importlib.import_module(module), name)(work, trainer, measured)
    return measured


def rate(turns: Sequence[dict[str, float]]) -> float:
    """Tokens per second over a phase's turns."""
    return sum(t["tokens"] for t in turns) / max(sum(t["seconds"] for t in turns), 1e-9)


def seconds(measured: dict[str, Any]) -> float:
    """Seconds per round: the sum of the medians of its phases."""
    from harness.bench.results import middle

    return sum(middle([t["seconds"] for t in turns]) for turns in measured["turns"].values())


def as_row(work: Workload) -> dict[str, Any]:
    """The workload as a record keeps it: without the folder on this machine."""
    fields = dataclasses.asdict(work)
    return {k: v for k, v in fields.items() if k != "folder"} | {"reward": Path(work.reward.partition(":")[0]).stem}


def main() -> None:
    print(json.dumps(measure(Workload.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
