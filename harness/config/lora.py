"""The fields of an adapter (LoRA, 2106.09685; DoRA, 2402.09353), and the word of `--lora` that holds them.

    y = W x + (alpha / r) B A x        W frozen (out x in), A (r x in), B (out x r) trained, B = 0 at the start

Plain Python, so that plans and studies can read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.config.coercion import build

ALL_LINEAR = "all-linear"
ADAPTER_CONFIG = "adapter_config.json"  # what makes a folder an adapter: PEFT's own file
ADAPTER_BASE = "harness_base.json"  # beside it, of adapters made here: which base, by its bytes


@dataclass(frozen=True, kw_only=True)
class LoraFields:
    """An adapter on a frozen model.  Any of its fields turns it on."""

    r: int = 16  # rank
    alpha: int = 32  # B A is scaled by alpha / r
    target: str = ALL_LINEAR  # all-linear (but the output head), or names of layers, e.g. q_proj+v_proj
    dora: bool = False  # DoRA: a magnitude of each output is trained beside its direction
    rslora: bool = False  # scale by alpha / sqrt(r) instead (2312.03732)
    dropout: float = 0.0  # 0 alone: the policy that is trained is the one that was sampled
    merge: bool = False  # checkpoints/final is the whole model, merged; otherwise the adapter, as a PEFT folder
    base: Literal["full", "nf4"] = "full"  # how the frozen model is held; nf4: 4 bits, by bitsandbytes, on CUDA alone

    def __post_init__(self) -> None:
        for name in ("r", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"lora.{name}: must be at least 1, not {getattr(self, name)}")
        if self.dropout:
            raise ValueError(
                f"lora.dropout: must be 0, not {self.dropout}: dropout would train another policy than was sampled, "
                "so that the first update's ratio were not 1"
            )
        if not self.names:
            raise ValueError(f"lora.target: must be {ALL_LINEAR} or names joined by +, e.g. q_proj+v_proj")
        if self.merge and self.base != "full":
            raise ValueError(f"lora.merge: nothing can be merged into a base of {self.base} without rounding it")

    @property
    def names(self) -> list[str]:
        return [name for name in (word.strip() for word in self.target.split("+")) if name]

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)


def parse_lora(text: str) -> dict[str, str]:
    """The fields of a `--lora` word.

    >>> parse_lora("r=16,alpha=32,target=q_proj+v_proj")
    {'r': '16', 'alpha': '32', 'target': 'q_proj+v_proj'}
    """
    fields = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ValueError(f"--lora: '{word}' is not field=value; e.g. --lora r=16,alpha=32,target={ALL_LINEAR}")
        fields[name.strip()] = value.strip()
    return fields


def lora_of(table: Mapping[str, Any]) -> LoraFields | None:
    """The fields that a configuration's table `lora` holds; None where it is empty.  Raises ValueError, one line."""
    return build(LoraFields, dict(table), "lora.") if table else None


def is_adapter(model: str) -> bool:
    """Is it a folder with an adapter instead of a model?"""
    return (Path(model) / ADAPTER_CONFIG).is_file()


def read_adapter(model: str) -> dict[str, Any]:
    """A folder's adapter_config.json.  Raises ValueError naming it."""
    file = Path(model) / ADAPTER_CONFIG
    try:
        table = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"model: {file} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(table, dict) or not isinstance(table.get("base_model_name_or_path"), str):
        raise ValueError(f"model: {file} names no base (base_model_name_or_path)")
    return table


def made_on(model: str) -> dict[str, str]:
    """What the harness wrote beside an adapter about its base: name, sha256 or revision.  {} for others' adapters."""
    file = Path(model) / ADAPTER_BASE
    if not file.is_file():
        return {}
    try:
        table = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"model: {file} cannot be read: {error}") from error
    return {name: str(value) for name, value in table.items()} if isinstance(table, dict) else {}


def base_of(model: str) -> str:
    """The model that an adapter's folder is for.  Raises ValueError where it names none, or itself.

    A path in the file that is gone may be an embedded model's of another machine: its name is tried first.
    """
    from harness.config.start_models import embedded_models

    named = made_on(model).get("name", "")
    base = named if named in embedded_models() else str(read_adapter(model)["base_model_name_or_path"])
    if not base or Path(base).resolve() == Path(model).resolve():
        raise ValueError(f"model: {Path(model) / ADAPTER_CONFIG} names no base (base_model_name_or_path)")
    if is_adapter(base):
        raise ValueError(
            f"model: the base of {model} is an adapter itself ({base}): merge that first (`harness merge`)"
        )
    return base
