"""Where the time of a round goes, by operation, in CPU seconds of this process: a loaded machine disturbs them little.

    python3 scripts/profile_round.py --model smollm2-135m --prompts 4 --group-size 16 --max-new-tokens 24

Completions of the token limit, one micro-batch of an update, the optimiser's step, and the model's own matrix products
alone.  Shares are of the operations' own time, by torch.profiler.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

SHOWN = 12


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def shares(work: Callable[[], Any]) -> dict[str, float]:
    """Of each operation's own time, the largest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = profiler.key_averages()
    whole = sum(e.self_cpu_time_total for e in events)
    largest = sorted(events, key=lambda e: -e.self_cpu_time_total)[:SHOWN]
    return {e.key: round(e.self_cpu_time_total / whole, 4) for e in largest}


def products_alone(model: Any, rows: int) -> float:
    """FLOPs a second of the model's matrix products, `rows` tokens at a time; the best of three."""
    import torch

    from harness.bench.roofline import _products

    shapes, work, spent = _products(model), 0.0, 0.0
    for n, k in set(shapes):
        x, w = torch.randn(rows, k), torch.randn(n, k)
        best = min(timed(lambda x=x, w=w: torch.nn.functional.linear(x, w)) for _ in range(3))  # type: ignore[misc]
        work, spent = work + 2.0 * rows * n * k * shapes.count((n, k)), spent + best * shapes.count((n, k))
    return work / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    for name, default in (("prompts", 4), ("group-size", 16), ("max-new-tokens", 24)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()

    import torch

    from harness.bench.workload import force_full_length
    from harness.config.run_config import resolve
    from harness.models.microbatching import cut
    from harness.training.setup import prepare

    torch.set_num_threads(1)
    sizes = {"prompts": given.prompts, "group_size": given.group_size, "max_new_tokens": given.max_new_tokens}
    settings = ["algo.kl_coef=0", "task.train_size=64", "task.test_size=4", "task.other_size=4", "eval_limit=1"]
    with tempfile.TemporaryDirectory() as out:
        flags = {
            "model": given.model,
            "task_name": "word_problems",
            "budget": f"prompts={3 * given.prompts}",
            "out": out,
        }
        trainer = prepare(resolve({**flags, **sizes}, settings, None)).trainer
    force_full_length(trainer)
    problems = trainer.prompt_stream.take(0, given.prompts)

    def rollout() -> Any:
        return trainer.completions.complete(problems, 0)[0]

    rollouts = rollout()
    part = rollouts.take(cut(rollouts, torch.arange(len(rollouts.group_N)), trainer.micro_batch_tokens)[0])

    def update() -> None:
        chosen = trainer.policy.lm.hidden_states(part)
        (-trainer.policy.lm.token_logprobs(chosen, 1.0)[0].mean()).backward()

    update()
    model = trainer.policy.lm.model
    rows = given.prompts * given.group_size
    said = {
        "rollout": {"tokens": rows * given.max_new_tokens, "cpu_seconds": timed(rollout), "shares": shares(rollout)},
        "update": {
            "chosen_tokens": int(part.completion_mask_NT.sum()), "cpu_seconds": timed(update), "shares": shares(update)
        },
        "optimizer_step_cpu_seconds": timed(trainer.policy.step),
        "products_alone_flops_per_second": {n: products_alone(model, n) for n in (rows, trainer.micro_batch_tokens)},
    }  # fmt: skip
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
