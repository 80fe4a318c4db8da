"""One arm at one shape, in a process of its own, so that its memory is its own: rounds of the real loop, by phase.

python -m harness.bench.workload CELL     CELL as `Cell.dumps` writes it; the last line of its output is the answer
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
class Cell:
    """What is run: an arm, a model's folder, and the shape of a round."""

    arm: str  # for tables
    algo: str
    settings: tuple[str, ...]  # `--set` words
    folder: str
    reward: str
    prompts: int
    group_size: int
    prompt_tokens: int  # every prompt's, at least; 0: as the task has them
    max_new_tokens: int
    forced: bool  # every completion has exactly max_new_tokens tokens
    rounds: int  # that count; one more goes before
    device: str
    dtype: str
    probe: str = ""  # a function `module:name` of (cell, trainer, measured), whose answer is added

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Cell:
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
    """What a suite runs.  Checked when made: ValueError, one line, on anything unusable."""

    model: str
    arms: tuple[str, ...]
    prompts: int = 32
    group_size: int = 16
    prompt_tokens: int = 0
    max_new_tokens: int = 56
    rounds: int = 3
    most: int = 65536  # tokens that a round of `scale` may generate
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

    def cell(
        self, arm: str, folder: Path, forced: bool = True, reward: str = random_reward.NAME, probe: str = ""
    ) -> Cell:
        algo, own = ARMS[arm]
        shape = {k: v for k, v in vars(self).items() if k in {f.name for f in dataclasses.fields(Cell)}}
        given = {**shape, "settings": (*own, *self.settings), "folder": str(folder)}
        return Cell(arm=arm, algo=algo, forced=forced, reward=reward, probe=probe, **given)


def run(cell: Cell) -> dict[str, Any]:
    """The cell's numbers, from a child process.  RunFailed with its last words where it fails."""
    words = [sys.executable, "-m", "harness.bench.workload", cell.dumps()]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **OFFLINE})
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()]
        raise RunFailed(f"{cell.arm}: {last[-1].strip() if last else f'ended with {done.returncode}'}"[:300])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def config_of(cell: Cell) -> Any:
    """The cell as a run of ours, with a budget for one round more than those that count."""
    from harness.config.run_config import resolve

    flags: dict[str, Any] = {
        "algo_name": cell.algo,
        "model": cell.folder,
        "reward": cell.reward,
        "budget": f"prompts={cell.prompts * (cell.rounds + 1)}",
        "prompts": cell.prompts,
        "group_size": cell.group_size,
        "max_new_tokens": cell.max_new_tokens,
        "lr": 1e-6,
        "warmup": 0,
        "decay": "constant",
        "device": cell.device,
        "dtype": cell.dtype,
        "eval_limit": 1,
        "keep_checkpoints": 0,
    }
    return resolve(flags, list(cell.settings), None)


def trainer_of(cell: Cell) -> Any:
    """The run's trainer, over prompts of the length asked for."""
    from harness.rollout.prompts import Draws
    from harness.training.setup import prepare

    trainer = prepare(config_of(cell)).trainer
    if cell.prompt_tokens:
        problems = [dataclasses.replace(p, prompt=_lengthened(p.prompt, cell)) for p in trainer.draws.problems]
        trainer.draws = Draws(problems, trainer.draws.seed)
    if cell.forced:
        trainer.sampler.ends = []
        trainer.sampling = dataclasses.replace(trainer.sampling, stop=())
    return trainer


def _lengthened(prompt: str, cell: Cell) -> str:
    """The prompt after itself, over and over: a character is a token of the benchmark's tokenizer."""
    return (prompt * (cell.prompt_tokens // len(prompt) + 1))[-cell.prompt_tokens :]


def measure(cell: Cell) -> dict[str, Any]:
    """Run the rounds.  A phase's first turn is warm-up and left out; tokens are those the phase's work is for."""
    import importlib

    import torch

    from harness.training.run import memory_of

    trainer = trainer_of(cell)
    turns: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    before = trainer.meter.as_dict()
    spent = [trainer.spend.as_dict()]
    while trainer.round() is not None:
        after = trainer.meter.as_dict()
        for name, phase in after.items():
            last = before.get(name, {"seconds": 0.0, "tokens": 0})
            if phase["seconds"] > last["seconds"]:
                turns[name].append({k: phase[k] - last[k] for k in ("seconds", "tokens")})
        before = after
        spent.append(trainer.spend.as_dict())
    device = trainer.policy.device
    cuda = device.type == "cuda"
    measured = {
        "turns": {name: found[1:] or found for name, found in turns.items()},
        "peaks": {name: phase["peak_bytes"] for name, phase in before.items() if phase["peak_bytes"]},
        "memory": memory_of(trainer),
        "spend": spent[-1],
        "flops_a_round": (spent[-1]["flops"] - spent[1]["flops"]) / max(len(spent) - 2, 1),
        "checks": dict(trainer.checks),
        "reads": "packed, ragged" if trainer.policy.lm.ragged else "packed" if trainer.policy.lm.packs else "padded",
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "threads": torch.get_num_threads(),
    }
    if cell.probe:
        module, _, name = cell.probe.partition(":")
        measured["probe"] = getattr(importlib.import_module(module), name)(cell, trainer, measured)
    return measured


def rate(turns: Sequence[dict[str, float]]) -> float:
    """Tokens a second over a phase's turns."""
    return sum(t["tokens"] for t in turns) / max(sum(t["seconds"] for t in turns), 1e-9)


def seconds(measured: dict[str, Any]) -> float:
    """Of a round: the medians of its phases, added."""
    from harness.bench.results import middle

    return sum(middle([t["seconds"] for t in found]) for found in measured["turns"].values())


def as_row(cell: Cell) -> dict[str, Any]:
    """The cell as a record keeps it: no folder of the machine it ran on."""
    fields = dataclasses.asdict(cell)
    return {k: v for k, v in fields.items() if k != "folder"} | {"reward": Path(cell.reward.partition(":")[0]).stem}


def main() -> None:
    print(json.dumps(measure(Cell.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
