"""Roofline: the loop's necessary work at the rate of the same matrix products alone, against the measured time.

necessary   matrix products of the tokens that must be processed: a prompt once per group, a completion without its last
            token, the head on completion tokens only; backward twice the forward; attention by its own tokens
alone       the same shapes, timed separately in the same process: forward, and the two products of the backward.
            `alone_rows` tokens at a time: as many as are decoded at once, and for micro-batches 4,096 on the CPU and
            the run's micro_batch_tokens on CUDA.  On CUDA there are many launches between two synchronisations, and the
            operands alternate, so that none is in the cache; a product shorter than its launch counts as the launch
share       necessary FLOPs / alone's rate / the seconds that the phase took
decode      in addition, the bytes that a step must read (weights and keys) at the measured copy bandwidth
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.bench import model_shapes, random_reward, results, workload
from harness.bench.workload import Options, Workload

Say = Callable[[str], None]
ROWS = 4096  # of the matrices timed on the CPU: a micro-batch
FLOOR = 0.02  # seconds of work between two synchronisations on CUDA: long compared with a launch and a wait
CACHED = 2**28  # more bytes than a GPU's cache: the total size of alternating operands


def bench(options: Options, say: Say) -> Path:
    """Write OUT/limit-MODEL.json after each arm (`partial` until the last), and print the table.  A model with trained
    weights gets the rule reward, random weights a random one."""
    rows, random, arms = (
        list[dict[str, Any]](),
        bool(model_shapes.SHAPES[options.model]),
        options.arms or ("grpo", "grpo_kl"),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_shapes.folder(options.model, Path(scratch) / options.model)
        for arm in arms:
            probe = "harness.bench.roofline:against_the_machine"
            work = options.workload(arm, folder, random, random_reward.NAME if random else "rule", probe)
            measured = workload.run(work)
            rows.append({"arm": arm, "cell": workload.as_row(work), **measured})
            record = {
                **results.surroundings(measured["device"], measured["threads"]),
                "model": options.model,
                "partial": len(rows) < len(arms),
                "meaning": {"share": (__doc__ or "").strip()},
                "rows": rows,
            }
            file = results.write(options.out, f"limit-{options.model}", record)
    say(table(rows) + f"\n{file}")
    return file


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for r in rows:
        p = r["probe"]
        for phase in ("rollout", "annotate", "update", "round"):
            if phase in p["share"]:
                work, took = p["necessary_flops"][phase], p["seconds"][phase]
                floor = f"{p['decode_floor_share']:.0%}" if phase == "rollout" else ""
                cells = [
                    f"{work / 1e9:,.1f}",
                    f"{took:.3f}",
                    f"{work / took / 1e9:,.1f}",
                    f"{p['share'][phase]:.0%}",
                    floor,
                ]
                lines.append([f"{r['arm']} {phase}", *cells])
    head = ["", "necessary GFLOP", "s", "GFLOP/s", "of the rate alone", "of the bandwidth floor"]
    alone = ", ".join(f"{k} {v / 1e9:,.0f}" for k, v in rows[0]["probe"]["alone_flops_per_second"].items())
    bandwidth = rows[0]["probe"]["bandwidth_bytes_per_second"] / 1e9
    return results.table(head, lines) + f"\nalone: {alone} GFLOP/s; copy: {bandwidth:,.1f} GB/s"


# ---------------------------------------------------------------- in the child


def against_the_machine(work: Workload, trainer: Any, measured: dict[str, Any]) -> dict[str, Any]:
    """The limits of the machine, measured now, and the share of them that the rounds reached."""
    rounds = max(len(measured["turns"]["update"]), 1)
    tokens = _tokens(trainer)
    products, attention = _products(trainer.policy.lm.model), trainer.flops.policy.attention
    trunk, head = sum(k * n for k, n in products[:-1]) * 2.0, products[-1][0] * products[-1][1] * 2.0
    read = trunk * tokens["packed"] + head * tokens["chosen"] + attention * tokens["context"]
    necessary = {
        "rollout": trunk * tokens["packed"] + head * tokens["chosen"] + attention * tokens["context"],
        "annotate": read * len(trainer.algo.needs & {"reference", "values"}),
        "update": 3 * read,
    }
    micro = trainer.micro_batch_tokens if trainer.policy.device.type == "cuda" else ROWS
    live = max(1, min(trainer.sampler.rows, trainer.schedule.prompts * trainer.schedule.group_size))
    at_once = {"update": micro, "annotate": micro, "rollout": live}
    alone = {p: _rate(trainer, products, rows, p == "update") for p, rows in at_once.items()}
    took = {p: sum(t["seconds"] for t in measured["turns"].get(p, [])) / rounds for p in necessary}
    took = {p: s for p, s in took.items() if s and necessary[p]}
    share = {p: necessary[p] / alone[p] / s for p, s in took.items()}
    share["round"] = sum(necessary[p] / alone[p] for p in took) / workload.seconds(measured)
    bandwidth = _bandwidth(trainer.policy.device)
    return {
        "tokens": tokens,
        "necessary_flops": {**{p: necessary[p] for p in took}, "round": sum(necessary[p] for p in took)},
        "alone_flops_per_second": alone,
        "alone_rows": at_once,
        "seconds": {**took, "round": workload.seconds(measured)},
        "share": share,
        "bandwidth_bytes_per_second": bandwidth,
        "decode_floor_share": _floor(trainer, tokens) / bandwidth / took["rollout"],
    }


def _tokens(trainer: Any) -> dict[str, float]:
    """Token counts of a round like those measured: one more is sampled."""
    import torch

    with torch.no_grad():
        rollouts, _ = trainer.completions.complete(trainer.prompt_stream.take(0, trainer.schedule.prompts), 0)
    prompt_N, length_N = (
        (rollouts.attention_mask_NS.sum(1) - rollouts.completion_mask_NT.sum(1)).double(),
        rollouts.completion_mask_NT.sum(1).double(),
    )
    prompts = float(prompt_N[:: trainer.schedule.group_size].sum())
    read_N = length_N - 1
    prompt_P = prompt_N[:: trainer.schedule.group_size]
    return {
        "packed": prompts + float(read_N.sum()),
        "chosen": float(length_N.sum()),
        "context": float((prompt_P * (prompt_P + 1) / 2).sum() + (read_N * prompt_N + read_N * (read_N + 1) / 2).sum()),
        "steps": float(length_N.max()) - 1,
        "keys": float((read_N * (read_N + 1) / 2).sum())
        + float(read_N.max()) * prompts,  # completion columns; prompts once per group
    }


def _products(model: Any) -> list[tuple[int, int]]:
    """The shape of every matrix that multiplies a token, the output head last."""
    from harness.models.half_precision import _matrices

    head = model.get_output_embeddings()
    matrices = [m for m in _matrices(model) if m is not head]
    return [tuple(m.weight.shape) for m in [*matrices, head]]


def _rate(trainer: Any, products: list[tuple[int, int]], rows: int, backward: bool) -> float:
    """FLOPs per second of these products alone, `rows` tokens at a time, in the precision of the run; the best of
    several timings per shape."""
    import torch

    from harness.models.half_precision import autocast_dtype

    device = trainer.policy.device
    dtype = autocast_dtype(trainer.policy.accelerator.autocast, device) or torch.float32
    work = spent = 0.0
    for (n, k), times in {shape: products.count(shape) for shape in products}.items():
        sizes = ((rows, k), (n, k), (rows, n))
        sets = CACHED // (dtype.itemsize * sum(a * b for a, b in sizes)) + 1 if device.type == "cuda" else 1
        turns = [[torch.randn(*s, device=device, dtype=dtype) for s in sizes] for _ in range(sets)]
        kinds: list[Callable[..., Any]] = [lambda x, w, g: torch.nn.functional.linear(x, w)]
        if backward:
            kinds += [lambda x, w, g: g @ w, lambda x, w, g: g.t() @ x]
        for kind in kinds:
            work += 2.0 * rows * n * k * times
            spent += _best(partial(_next, kind, cycle(turns)), device) * times
    return work / spent


def _next(kind: Callable[..., Any], turns: Iterator[list[Any]]) -> None:
    """A product of the next operands."""
    kind(*next(turns))


def _bandwidth(device: Any) -> float:
    """Bytes per second that a large copy reads and writes."""
    import torch

    count = 2**28 if device.type == "cuda" else 2**25
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], Any], device: Any, times: int = 7) -> float:
    """Seconds per call, the least of several timings: on CUDA of as many calls as take FLOOR, elsewhere of work."""
    import torch

    cuda = device.type == "cuda"

    def took(calls: int) -> float:
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    took(1)
    calls = _calls(took, FLOOR) if cuda else 1
    return min(took(calls) for _ in range(times)) / calls


def _calls(took: Callable[[int], float], floor: float) -> int:
    """The number of calls that take `floor` seconds together, by doubling."""
    calls = 1
    while took(calls) < floor:
        calls *= 2
    return calls


def _floor(trainer: Any, tokens: dict[str, float]) -> float:
    """Bytes that a rollout must read: the weights once per step, and the keys and values that each token attends to."""
    lm = trainer.sampler.engine.lm
    config = lm.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = sum(p.nbytes for p in {id(p): p for p in lm.model.parameters()}.values())
    embedding = lm.model.get_input_embeddings().weight
    if embedding is not lm.head.weight:
        weights -= embedding.nbytes  # only one row is read per token
    width = lm.head.weight.element_size()
    return float(tokens["steps"] * weights + tokens["keys"] * config.num_hidden_layers * 2 * heads * size * width)
