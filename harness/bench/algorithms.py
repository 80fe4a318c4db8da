"""Memory, throughput and FLOPs of every algorithm at one shape: the table behind "GRPO needs less memory than PPO".

Each arm runs the real loop in a process of its own, with equal prompts, group size and forced lengths.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, results, workload
from harness.bench.workload import ARMS, Cell, Options
from harness.config.errors import RunFailed

Say = Callable[[str], None]

PARTS = ("policy", "rollout_weights", "reference", "critic", "gradients", "optimizer", "kv_cache", "activations")
PHASES = ("rollout", "annotate", "update")
MEANING = {
    "meaning": {
        "memory": "parts are bytes of tensors, counted; peak: CUDA's allocator, or the process's resident set; "
        "reserved: all that CUDA's allocator held, idle or in fragments",
        "seconds": "medians of a phase's turns after the first",
        "flops": "the model's (DESIGN rule 5), of a round",
        "tensors, planned": "bytes of tensors at the worst moment: counted, and by `harness plan`",
    }
}


def bench(options: Options, say: Say) -> Path:
    """Runs the arms, writes OUT/algos-MODEL.json after each (`partial` until the last), says the tables last.

    An arm that the file has already, of the same cell and commit, is not run again; one that fails (memory, most often)
    is a row that says why.
    """
    file = options.out / f"algos-{options.model}.json"
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / options.model)
        cells = {
            arm: options.cell(arm, folder, probe="harness.bench.algorithms:predicted") for arm in options.arms or ARMS
        }
        there = known(file, cells)
        for arm, one in cells.items():
            row = there[arm] = there.get(arm) or measured(one)
            rows = [there[a] for a in cells if a in there]
            whole = f"{workload.seconds(row):.2f} s a round, peak {_size(row['memory']['peak_bytes'])} MiB"
            say(f"{arm}: {row['reason'] or whole}")
            head = {**surroundings(rows), "model": options.model, "partial": len(rows) < len(cells), **MEANING}
            results.write(options.out, file.stem, {**head, "rows": rows})
    say("\n" + tables([r for r in rows if not r["reason"]]) + f"\n{file}")
    return file


def measured(one: Cell) -> dict[str, Any]:
    """The cell's row, or why there is none."""
    row = {"arm": one.arm, "cell": workload.as_row(one), "commit": results.commit(), "reason": None}
    try:
        return {**row, **workload.run(one)}
    except RunFailed as error:
        return {**row, "reason": str(error), "turns": {}, "memory": {"peak_bytes": 0, "parts": {}}}


def known(file: Path, cells: dict[str, Cell]) -> dict[str, dict[str, Any]]:
    """The rows of an earlier sitting, by arm; none where the commit is not known, for then the code may be another."""
    now = results.commit()
    if now is None or not file.is_file():
        return {}
    ran = [r for r in json.loads(file.read_text())["rows"] if r["commit"] == now and not r["reason"]]
    wanted = {arm: json.loads(json.dumps(workload.as_row(one))) for arm, one in cells.items()}
    return {r["arm"]: r for r in ran if r["cell"] == wanted.get(r["arm"])}


def surroundings(rows: list[dict[str, Any]]) -> dict[str, Any]:
    ran: dict[str, Any] = next((r for r in rows if not r["reason"]), {"device": "none", "threads": 0})
    return results.surroundings(ran["device"], ran["threads"])


def tables(rows: list[dict[str, Any]]) -> str:
    """Memory by part; then seconds and rates by phase."""
    held = [p for p in PARTS if any(p in r["memory"]["parts"] for r in rows)]
    memory = [
        [
            r["arm"],
            *(_size(r["memory"]["parts"].get(p, {}).get("bytes", 0)) for p in held),
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
        whole = workload.seconds(r)
        speed.append(
            [
                r["arm"],
                f"{whole:.2f}",
                *rates,
                f"{r['flops_a_round'] / 1e9:,.1f}",
                f"{r['flops_a_round'] / whole / 1e9:,.1f}",
            ]
        )
    return "\n\n".join(
        [
            results.table(["MiB", *held, "peak", "tensors", "planned"], memory),
            results.table(["arm", "s a round", *(f"{p} tok/s" for p in PHASES), "GFLOP a round", "GFLOP/s"], speed),
        ]
    )


def _size(count: float) -> str:
    """MiB."""
    return f"{count / 2**20:,.1f}"


def predicted(one: Cell, trainer: Any, measured: dict[str, Any]) -> dict[str, Any]:
    """What `harness plan` says of the cell, and what a round of it takes: bytes of tensors at the worst moment.

    On CUDA the allocator's peak is at hand.  On the CPU one more round is watched, of a live schedule (an offline one
    samples and trains in stages that hold different things)."""
    from harness.accounting.tensor_memory import measured as watched
    from harness.planner.command import setting_of
    from harness.planner.memory import predict

    problems = trainer.draws.take(0, one.prompts * (one.rounds + 1))
    longest = max(len(trainer.encoder.ids(trainer.encoder.render(p.prompt))) for p in problems)
    plan = predict(setting_of(workload.config_of(one), longest))
    found = {
        "peak_bytes": plan.peak,
        "phase": plan.worst.name,
        "parts": {k: v for k, v in plan.worst.parts.items() if v},
    }
    if trainer.policy.device.type == "cuda":
        return {**found, "tensors_bytes": measured["memory"]["peak_bytes"]}
    if trainer.schedule.source != "live":
        return {**found, "tensors_bytes": None}
    from harness.training.batching import updates

    with watched() as ledger:
        r = trainer.explore(one.prompts).rollouts
        parts = updates(r, trainer.algo.credit(r), trainer.schedule, one.max_new_tokens, trainer.micro_tokens, 0, 0)
        trainer.update(parts, on_policy=True)
    return {**found, "tensors_bytes": ledger.peak}
