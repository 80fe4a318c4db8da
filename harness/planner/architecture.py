"""What a decoder is made of, read from its config.json alone: sizes, parameters, and how its parts are computed.

H hidden size, A = heads x head size, C = key heads x head size, I the MLP's inner size, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.start_models import embedded, embedded_models


@dataclass(frozen=True)
class Family:
    """What a config.json does not say and the architecture does."""

    gated: bool = True  # down(act(gate x) * up x), against out(act(in x))
    scaled: bool = True  # RMS norms, written out; against layer norms, one operation
    tied: bool = False  # where the file is silent
    biased: str = ""  # which projections have a bias whatever the file says: any of "qkvo", "m" the MLP's
    head_norms: bool = False  # norms over each query and key head
    fused: bool = False  # q, k and v by one projection, read once
    wide: int = 0  # act as one operation keeps its input; written out, so many of the inner size more
    places: bool = False  # learned positions, no rotary embedding


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(biased="qkv"),
    "qwen3": Family(head_norms=True),
    "gemma": Family(tied=True),
    "gpt2": Family(gated=False, scaled=False, tied=True, biased="qkvom", fused=True, wide=3, places=True),
}
OTHER_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
}
SIZES = ("num_key_value_heads", "head_dim", "intermediate_size", "max_position_embeddings")
NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Anatomy:
    """The sizes of one decoder.  `family` is the nearest known one; `known` says that it is its own."""

    model_type: str
    family: Family
    known: bool
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head: int
    inner: int
    vocabulary: int
    positions: int
    tied: bool
    biased: str
    plain: bool  # attention without window and soft cap, which torch's ragged kernel can do

    @property
    def attended(self) -> int:
        """A."""
        return self.heads * self.head

    @property
    def keyed(self) -> int:
        """C."""
        return self.key_heads * self.head

    @property
    def attention_matrices(self) -> int:
        """q, k, v, o: H (A + 2 C) + A H."""
        return self.hidden * (self.attended + 2 * self.keyed) + self.attended * self.hidden

    @property
    def mlp_matrices(self) -> int:
        """3 H I with a gate, 2 H I without."""
        return (3 if self.family.gated else 2) * self.hidden * self.inner

    @property
    def matrices(self) -> int:
        """Parameters of a layer that multiply a token's state."""
        return self.attention_matrices + self.mlp_matrices

    @property
    def layer(self) -> int:
        """All parameters of a layer: matrices, biases, norms."""
        of = {"q": self.attended, "k": self.keyed, "v": self.keyed, "o": self.hidden}
        biases = sum(size for name, size in of.items() if name in self.biased)
        if "m" in self.biased:
            biases += self.inner * (2 if self.family.gated else 1) + self.hidden
        norms = self.hidden * (2 if self.family.scaled else 4) + (2 * self.head if self.family.head_norms else 0)
        return self.matrices + biases + norms

    @property
    def embedding(self) -> int:
        """V H: also the output head's size, its own or tied."""
        return self.vocabulary * self.hidden

    @property
    def trunk(self) -> int:
        """All but an output head of its own."""
        places = self.positions * self.hidden if self.family.places else 0
        last = self.hidden * (1 if self.family.scaled else 2)
        return self.embedding + places + self.layers * self.layer + last

    @property
    def parameters(self) -> int:
        """Of the whole model, a tied head counted once."""
        return self.trunk + (0 if self.tied else self.embedding)

    @property
    def narrow(self) -> int:
        """Parameters that a 16-bit copy makes 16-bit: every matrix, and an output head even where it is tied."""
        return self.layers * self.matrices + self.embedding

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Anatomy:
        """From the table of a config.json.  Raises ValueError naming what it lacks."""
        text = config.get("text_config")
        c = {**config, **text, "model_type": config.get("model_type")} if isinstance(text, Mapping) else dict(config)
        c |= {ours: c[theirs] for ours, theirs in OTHER_NAMES.items() if c.get(ours) is None and theirs in c}
        kind = str(c.get("model_type") or "")
        family = FAMILIES.get(kind, Family())
        for name in NEEDED:
            if not isinstance(c.get(name), int) or c[name] < 1:
                raise ValueError(f"model: its config.json has no {name}, so that nothing can be planned from it")
        for name in SIZES:
            if c.get(name) is not None and (not isinstance(c[name], int) or c[name] < 1):
                raise ValueError(f"model: {name} in its config.json must be a positive whole number, not {c[name]!r}")
        hidden, heads = c["hidden_size"], c["num_attention_heads"]
        biased = set(family.biased)
        biased |= set("qkv" if kind == "qwen2" else "qkvo") if c.get("attention_bias") else set()
        biased |= {"m"} if c.get("mlp_bias") else set()
        window = c.get("sliding_window") if c.get("use_sliding_window", True) else None
        return cls(
            kind or "unnamed",
            family,
            kind in FAMILIES and not _odd(c),
            hidden,
            c["num_hidden_layers"],
            heads,
            c.get("num_key_value_heads") or heads,
            c.get("head_dim") or hidden // heads,
            c.get("intermediate_size") or 4 * hidden,
            c["vocab_size"],
            c.get("max_position_embeddings") or 0,
            bool(family.tied if c.get("tie_word_embeddings") is None else c["tie_word_embeddings"]),
            "".join(sorted(biased)),
            window is None and c.get("attn_logit_softcapping") is None,
        )


def _odd(config: Mapping[str, Any]) -> bool:
    """A known name with what its family does not have: a mixture of experts, a function that is written out."""
    experts = any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    written = config.get("activation_function", "gelu_new") != "gelu_new"
    return experts or written


def read(model: str) -> Anatomy:
    """Of an embedded name, a folder, a config file or a hub id.  Raises ValueError, one line, where there is none."""
    path = embedded(model) or Path(model)
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        try:
            table = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"model: {file} is not a config.json: {str(error).splitlines()[0]}") from error
        if not isinstance(table, dict):
            raise ValueError(f"model: {file} is not a config.json: it holds no table")
        return Anatomy.of(table)
    if path.exists() or model.startswith((".", "/")) or model.endswith(".json"):
        raise ValueError(f"model: {model} has no config.json")
    return Anatomy.of(_from_hub(model))


def _from_hub(model: str) -> dict[str, Any]:
    from transformers import AutoConfig

    from harness.models.loading import silenced

    try:
        with silenced():
            return dict(AutoConfig.from_pretrained(model).to_dict())
    except Exception as error:  # transformers raises many kinds; the user needs the model's name and the reason
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        known = f"embedded: {', '.join(embedded_models())}"
        raise ValueError(
            f"model: no configuration of '{model}' ({known}; a folder; a file; a hub id): {reason}"
        ) from error
