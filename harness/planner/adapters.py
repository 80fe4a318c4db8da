"""What an adapter on a frozen model has: its numbers, and what its layers keep for the backward pass.

W x + s B A x      W (out x in) keeps nothing: dL/dx = W^T g needs no x.  A (r x in) keeps x, B (out x r) keeps A x
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.lora import ALL_LINEAR, LoraFields
from harness.planner.architecture import Architecture


@dataclass(frozen=True)
class Adapter:
    """Of one model.  `h`, `n`: how many layers with an adapter read the states before attention and before the MLP;
    `a`, `m`: whether one reads attention's output, and the MLP's product."""

    parameters: int
    largest: int  # of its matrices
    rank: int  # over a layer's adapters: numbers of A x per token
    outputs: int  # of a layer's adapted projections per token: what DoRA keeps of each, twice
    h: int
    n: int
    a: bool
    m: bool
    dora: bool = False


def projections(a: Architecture) -> list[tuple[str, str, int, int]]:
    """(name, what it reads, in, out) of a layer's linear layers."""
    H, A, C, I = a.hidden, a.attended, a.keyed, a.inner  # noqa: E741
    if a.family.fused:
        return [
            ("c_attn", "h", H, A + 2 * C), ("c_proj", "a", A, H), ("c_fc", "n", H, I), ("c_proj", "m", I, H),
        ]  # fmt: skip
    names = [("q_proj", "h", H, A), ("k_proj", "h", H, C), ("v_proj", "h", H, C), ("o_proj", "a", A, H)]
    gate = [("gate_proj", "n", H, I)] if a.family.gated else []
    return [*names, *gate, ("up_proj", "n", H, I), ("down_proj", "m", I, H)]


def adapter_of(a: Architecture, fields: LoraFields) -> Adapter:
    """Raises ValueError where no layer has that name."""
    all_of = projections(a)
    names = [p[0] for p in all_of] if fields.target == ALL_LINEAR else fields.names
    if unknown := [name for name in names if name not in {p[0] for p in all_of}]:
        valid = ", ".join(dict.fromkeys([ALL_LINEAR, *(p[0] for p in all_of)]))
        raise ValueError(f"lora.target: no linear layer of '{a.model_type}' is named '{unknown[0]}'; valid: {valid}")
    chosen = [p for p in all_of if p[0] in names]
    reads = [p[1] for p in chosen]
    outputs = sum(out for *_, out in chosen)
    numbers = sum(fields.r * (into + out) for *_, into, out in chosen) + (outputs if fields.dora else 0)
    return Adapter(
        parameters=a.layers * numbers,
        largest=fields.r * max(max(into, out) for *_, into, out in chosen),
        rank=fields.r * len(chosen),
        outputs=outputs,
        h=reads.count("h"),
        n=reads.count("n"),
        a="a" in reads,
        m="m" in reads,
        dora=fields.dora,
    )
