"""Log-probabilities at the temperature that an algorithm wants: the sampler's for ratios, 1 for maximum likelihood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from algos.ops.ratios import log_ratio
from harness.config.run_config import resolve
from harness.training.setup import PreparedRun, prepare
from tests.harness.tiny_models import SETTINGS, plain_logp, real_rows
from tests.helpers import close

TEMPERATURE = 0.7


def prepared(model: Path, out: Path, *settings: str) -> PreparedRun:
    flags: dict[str, Any] = {"model": str(model), "out": str(out), "device": "cpu", "budget": "completions=16"}
    fixed = ["max_new_tokens=24", f"temperature={TEMPERATURE}", *SETTINGS]
    return prepare(resolve(flags, [*fixed, *settings], None))


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize(
    ("algo", "temperature"),
    [
        ("grpo", TEMPERATURE),
        ("ppo", TEMPERATURE),
        ("online_rft", TEMPERATURE),
        ("rft", 1.0),
        ("dpo", 1.0),
        ("sft", 1.0),
    ],
)
def test_sampler_and_trainer_speak_of_one_distribution(
    taught: Path, tmp_path: Path, algo: str, temperature: float
) -> None:
    """Both of the one that the loss wants, by the model's own forward of each row."""
    trainer = prepared(taught, tmp_path, f"algo={algo}", "max_new_tokens=56").trainer
    r, model = trainer.collect_rollouts(4).rollouts, load(taught)
    read_NT = trainer.policy.score(r)
    for i, (row, start) in enumerate(real_rows(r)):
        plain_TV = plain_logp(model, row, start, temperature)
        own = plain_TV[torch.arange(len(row) - start), torch.tensor(row[start:])]
        mask = r.completion_mask_NT[i]
        close(r.logp_NT[i][mask], own, rtol=0, atol=1e-4)
        close(read_NT[i][mask], own, rtol=0, atol=1e-4)


def test_the_first_loss_of_sft_is_cross_entropy(taught: Path, tmp_path: Path) -> None:
    """At any temperature of the sampler: sum of -log p over all tokens of the solutions, over their number."""
    settings = ("algo=sft", "algo.loss_aggregation=token", "prompts=4", "max_new_tokens=56")
    run = prepared(taught, tmp_path, *settings)
    done = run.loop.train_round()
    assert done is not None
    loss = done.metrics(run.trainer.budget, run.trainer.profiler)["loss"]
    again = prepared(taught, tmp_path, *settings)
    r, model = again.trainer.collect_rollouts(4).rollouts, load(taught)
    nll = 0.0
    for row, start in real_rows(r):
        labels = torch.tensor([[-100] * start + row[start:]])
        ids = torch.tensor([row])
        with torch.no_grad():
            mean = model(input_ids=ids, labels=labels).loss  # transformers' own cross-entropy, over len(row) - start
        nll += float(mean) * (len(row) - start)
    close(loss, nll / int(r.completion_mask_NT.sum()), rtol=1e-5, atol=0)


def test_what_is_drawn_is_the_same_whatever_is_written_down(taught: Path, tmp_path: Path) -> None:
    """Tokens at the sampler's temperature; at temperature 1 both likelihoods are one."""
    rft, grpo = (prepared(taught, tmp_path, f"algo={name}").trainer for name in ("rft", "grpo"))
    mine, theirs = rft.collect_rollouts(4).rollouts, grpo.collect_rollouts(4).rollouts
    assert torch.equal(mine.tokens_NS, theirs.tokens_NS)
    assert float((mine.logp_NT - theirs.logp_NT).abs().max()) > 0.01
    warm = [prepared(taught, tmp_path, f"algo={name}", "temperature=1.0").trainer for name in ("rft", "grpo")]
    one, two = (trainer.collect_rollouts(4).rollouts for trainer in warm)
    assert torch.equal(one.logp_NT, two.logp_NT)


def test_dpo_starts_at_its_reference(taught: Path, tmp_path: Path) -> None:
    """m = 0 before the first update: what the sampler stored is the reference at temperature 1."""
    trainer = prepared(taught, tmp_path, "algo=dpo").trainer
    r = trainer.collect_rollouts(4).rollouts
    ratio_NT = log_ratio(trainer.policy.score(r), r.logp_NT, r.completion_mask_NT)
    close(ratio_NT, torch.zeros_like(ratio_NT), rtol=0, atol=1e-4)
