"""Runs whose metrics are written down (tests/golden/*.json), so that a change of a number is seen and meant.

    python -m tests.harness.golden      computes them anew and writes them

The model's weights come from numpy, the reward from letters, the noise from counters: a run is a function of this
file and of the code.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from harness.config.run_config import resolve
from harness.models.loading import silenced
from harness.training.setup import prepare
from tests.harness.tiny_models import build

FOLDER = Path(__file__).parent.parent / "golden"
METRICS = (
    "loss",
    "reward",
    "kl",
    "entropy",
    "grad_norm",
    "completions/mean_length",
    "value_loss",
    "kl_coef",
    "distinct",
    "rewards/margins",
)
ROUNDS = {"float32": 1, "float64": 10}

REWARD = """
def vowels(problem, completion, verdict):
    return (sum(c in "aeiou0246" for c in completion) % 3) / 2
"""

SETTINGS = (
    "prompts=4", "group_size=4", "max_new_tokens=8", "lr=0.01", "warmup=2", "temperature=0.9", "eval_fractions=1",
    "task.train_size=12", "task.test_size=1", "task.other_size=1", "eval_limit=1", "keep_checkpoints=0",
)  # fmt: skip
ALGORITHMS = {"grpo_twice": "grpo", "ppo_shared": "ppo"}  # of the arms that are not named after theirs
ARMS: dict[str, tuple[str, ...]] = {
    "grpo": (),
    "ppo": ("algo.kl_target=0.01", "algo.kl_horizon=50"),
    "ppo_shared": ("algo.critic=shared", "algo.kl_coef=0", "algo.gae_lambda=0.95", "algo.epochs=2"),
    "online_rft": ("algo.reward_threshold=0.5",),
    "rft": ("algo.reward_threshold=0.5", "algo.max_per_prompt=2"),
    "dpo": ("algo.reward_threshold=0.5", "algo.epochs=4"),
    "grpo_twice": ("algo.epochs=2", "algo.minibatches=2", "algo.clip_high=0.28", "algo.loss_aggregation=token"),
}


def tokenizer() -> Any:
    """A byte-level tokenizer of fixed vocabulary: every byte, an end and a pad."""
    from harness.models.pretraining.trainer import build_tokenizer

    return build_tokenizer(iter(["0123456789+-()="]), 258, [])


def model_folder(folder: Path) -> Path:
    words = tokenizer()
    model = build("llama", seed=7, vocab_size=len(words))
    model.generation_config.eos_token_id = [words.eos_token_id, *range(60, 80)]
    with silenced():
        model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def metrics_of(arm: str, dtype: str) -> list[dict[str, float]]:
    """METRICS of the first rounds of a run, without its evaluations."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "reward.py").write_text(REWARD)
        flags = {
            "algo_name": ALGORITHMS.get(arm, arm),
            "model": str(model_folder(folder / "model")),
            "out": str(folder / "out"),
            "reward": f"{folder / 'reward.py'}:vowels",
            "budget": f"prompts={4 * ROUNDS[dtype]}",
            "dtype": dtype,
            "device": "cpu",
            "seed": 3,
        }
        run = prepare(resolve(flags, [*SETTINGS, *ARMS[arm]], None))
        rounds = []
        while (done := run.loop.train_round()) is not None:
            found = done.metrics(run.trainer.round_sizer.budget, run.trainer.profiler)
            rounds.append({name: found[name] for name in METRICS if name in found})
    return rounds


def file_of(arm: str, dtype: str) -> Path:
    return FOLDER / f"{arm}_{dtype.replace('float', 'fp')}.json"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for arm in ARMS:
        for dtype in ROUNDS:
            file_of(arm, dtype).write_text(json.dumps(metrics_of(arm, dtype), indent=1) + "\n")
            print(file_of(arm, dtype))


if __name__ == "__main__":
    main()
