"""Memory, throughput and FLOPs of every algorithm at one shape, e.g. to compare the memory of GRPO and PPO.

Each arm runs the real training loop in its own process, with equal prompts, group size and forced lengths.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, results, workload
from harness.bench.workload import ARMS, Options, Workload
from harness.config.errors import RunFailed

Say = Callable[[str], None]

PARTS = ("policy", "rollout_weights", "reference", "critic", "gradients", "optimizer", "kv_cache", "activations")
LABELS = {"critic": "value model"}
PHASES = ("rollout", "annotate", "update")
MEANING = {
    "meaning": {
        "memory": "parts are bytes of tensors, counted; peak: CUDA's allocator, or the process's resident set; "
        "reserved: all that CUDA's allocator held, idle or in fragments",
        "seconds": "medians of a phase's turns after the first",
        "flops": "the model's (harness/accounting/flops.py), of a round",
        "tensors, planned": "bytes of tensors at the worst moment: counted, and by `harness plan`",
    }
}


def bench(options: Options, say: Say) -> Path:
    """Run the arms, write OUT/algos-MODEL.json after each (`partial` until the last), and print the tables.

    An arm that the file has already, with the same workload and commit, is not run again; a failure (mostly for lack
    of memory) is a row with the reason.
    """
    file = options.out / f"algos-{options.model}.json"
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / options.model)
        workloads = {
            arm: options.workload(arm, folder, probe="harness.bench.algorithms:predicted")
            for arm in options.arms or ARMS
        }
        measured_rows = known(file, workloads)
        for arm, work in workloads.items():
            row = measured_rows[arm] = measured_rows.get(arm) or measured(work)
            rows = [measured_rows[a] for a in workloads if a in measured_rows]
            whole = f"{workload.seconds(row):.2f} s per round, peak {_size(row['memory']['peak_bytes'])} MiB"
            say(f"{arm}: {row['reason'] or whole}")
            head = {**surroundings(rows), "model": options.model, "partial": len(rows) < len(workloads), **MEANING}
            results.write(options.out, file.stem, {**head, "rows": rows})
    say("\n" + tables([r for r in rows if not r["reason"]]) + f"\n{file}")
    return file


def measured(work: Workload) -> dict[str, Any]:
    """The row of a workload, or of the reason for its failure."""
    row = {"arm": work.arm, "cell": workload.as_row(work), "commit": results.commit(), "reason": None}
    try:
        return {**row, **workload.run(work)}
    except RunFailed as error:
        return {**row, "reason": str(error), "turns": {}, "memory": {"peak_bytes": 0, "parts": {}}}


def known(file: Path, workloads: dict[str, Workload]) -> dict[str, dict[str, Any]]:
    """The rows of an earlier call at the same commit, by arm; none where the commit is not known."""
    current = results.commit()
    if current is None or not file.is_file():
        return {}
    rows = [r for r in json.loads(file.read_text())["rows"] if r["commit"] == current and not r["reason"]]
    wanted = {arm: json.loads(json.dumps(workload.as_row(work))) for arm, work in workloads.items()}
    return {r["arm"]: r for r in rows if r["cell"] == wanted.get(r["arm"])}


def surroundings(rows: list[dict[str, Any]]) -> dict[str, Any]:
    first: dict[str, Any] = next((r for r in rows if not r["reason"]), {"device": "none", "threads": 0})
    return results.surroundings(first["device"], first["threads"])


def tables(rows: list[dict[str, Any]]) -> str:
    """Memory by part; then seconds and rates by phase."""
    parts = [p for p in PARTS if any(p in r["memory"]["parts"] for r in rows)]
    memory = [
        [
            r["arm"],
            *(_size(r["memory"]["parts"].get(p, {}).get("bytes", 0)) for p in parts),
            _size(r["memory"]["peak_bytes"]),
            _size(r["probe"]["tensors_bytes"]) if r["probe"]["tensors_bytes"] else "-",
            _size(r["probe"]["peak_bytes"]),
        ]
        for r in rows
    ]
    speed = []
    for r in rows:
        turns = r["turns"]
        rates = [f"{workload.rate(turns[p]):,.0f}" if turns.get(p) and workload.rate(turns[p]) else "-" for p in PHASES]
        round_seconds = workload.seconds(r)
        speed.append(
            [
                r["arm"],
                f"{round_seconds:.2f}",
                *rates,
                f"{r['flops_a_round'] / 1e9:,.1f}",
                f"{r['flops_a_round'] / round_seconds / 1e9:,.1f}",
            ]
        )
    return "\n\n".join(
        [
            results.table(["MiB", *(LABELS.get(p, p) for p in parts), "peak", "tensors", "planned"], memory),
            results.table(["arm", "s/round", *(f"{p} tok/s" for p in PHASES), "GFLOP/round", "GFLOP/s"], speed),
        ]
    )


def _size(count: float) -> str:
    """MiB."""
    return f"{count / 2**20:,.1f}"


def predicted(work: Workload, trainer: Any, measured: dict[str, Any]) -> dict[str, Any]:
    """Peak bytes of tensors: the prediction of `harness plan`, and the measurement of a round.

    On CUDA this is the allocator's peak.  On the CPU one more round of a live schedule is measured (an offline one
    samples and trains in separate stages)."""
    from harness.accounting.tensor_memory import measured as watched
    from harness.planner.command import setting_of
    from harness.planner.memory import predict

    problems = trainer.prompt_stream.take(0, work.prompts * (work.rounds + 1))
    longest = max(len(trainer.tokenizer.ids(trainer.tokenizer.render(p))) for p in problems)
    plan = predict(setting_of(workload.config_of(work), longest))
    prediction = {
        "peak_bytes": plan.peak,
        "phase": plan.worst.name,
        "parts": {k: v for k, v in plan.worst.parts.items() if v},
    }
    if trainer.policy.device.type == "cuda":
        return {**prediction, "tensors_bytes": measured["memory"]["peak_bytes"]}
    if trainer.schedule.source != "live":
        return {**prediction, "tensors_bytes": None}
    from harness.training.batching import updates

    with watched() as ledger:
        rollouts = trainer.collect_rollouts(work.prompts).rollouts
        micro_batches = updates(
            rollouts,
            trainer.algo.credit(rollouts),
            trainer.schedule,
            work.max_new_tokens,
            trainer.micro_batch_tokens,
            0,
            0,
        )
        trainer.update(micro_batches, on_policy=True)
    return {**prediction, "tensors_bytes": ledger.peak}
