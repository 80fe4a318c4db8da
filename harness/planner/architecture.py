"""The architecture of a decoder, read from its config.json: sizes, parameter counts, and how its parts are computed.

H hidden size, A = heads x head size, C = key heads x head size, I the MLP's inner size, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.lora import base_of, is_adapter
from harness.config.start_models import embedded, embedded_models


@dataclass(frozen=True)
class Family:
    """Properties of an architecture that its config.json does not contain."""

    gated: bool = True  # MLP: down(act(gate x) * up x), otherwise out(act(in x))
    scaled: bool = True  # RMS norms, written out; otherwise layer norms, one operation
    tied: bool = False  # default where the file has no tie_word_embeddings
    biased: str = ""  # projections that always have a bias: any of "qkvo", and "m" for the MLP's
    head_norms: bool = False  # norms over each query and key head
    fused: bool = False  # one projection for q, k and v
    wide: int = 0  # tensors of the inner size that a written-out activation keeps, beyond one operation's
    places: bool = False  # learned position embeddings instead of rotary ones


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
class Architecture:
    """The sizes of one decoder.  `family` is its own if `known`, otherwise the nearest one."""

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
    plain: bool  # attention without window and soft cap, as torch's varlen kernel requires

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
        """Parameters of a layer's matrices."""
        return self.attention_matrices + self.mlp_matrices

    @property
    def layer(self) -> int:
        """All parameters of a layer: matrices, biases, norms."""
        outputs = {"q": self.attended, "k": self.keyed, "v": self.keyed, "o": self.hidden}
        biases = sum(size for name, size in outputs.items() if name in self.biased)
        if "m" in self.biased:
            biases += self.inner * (2 if self.family.gated else 1) + self.hidden
        norms = self.hidden * (2 if self.family.scaled else 4) + (2 * self.head if self.family.head_norms else 0)
        return self.matrices + biases + norms

    @property
    def embedding(self) -> int:
        """V H: also the size of the output head, tied or not."""
        return self.vocabulary * self.hidden

    @property
    def backbone(self) -> int:
        """Parameters without an untied output head."""
        positions = self.positions * self.hidden if self.family.places else 0
        final_norm = self.hidden * (1 if self.family.scaled else 2)
        return self.embedding + positions + self.layers * self.layer + final_norm

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, a tied head counted once."""
        return self.backbone + (0 if self.tied else self.embedding)

    @property
    def narrow(self) -> int:
        """Parameters that are 16-bit in a 16-bit copy: every matrix, and the output head even where it is tied."""
        return self.layers * self.matrices + self.embedding

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Architecture:
        """From the table of a config.json.  Raises ValueError naming a missing field."""
        nested = config.get("text_config")
        fields = (
            {**config, **nested, "model_type": config.get("model_type")}
            if isinstance(nested, Mapping)
            else dict(config)
        )
        fields |= {
            ours: fields[theirs]
            for ours, theirs in OTHER_NAMES.items()
            if fields.get(ours) is None and theirs in fields
        }
        model_type = str(fields.get("model_type") or "")
        family = FAMILIES.get(model_type, Family())
        for name in NEEDED:
            if not isinstance(fields.get(name), int) or fields[name] < 1:
                raise ValueError(f"model: its config.json has no {name}, so that nothing can be planned from it")
        for name in SIZES:
            if fields.get(name) is not None and (not isinstance(fields[name], int) or fields[name] < 1):
                raise ValueError(
                    f"model: {name} in its config.json must be a positive whole number, not {fields[name]!r}"
                )
        hidden, heads = fields["hidden_size"], fields["num_attention_heads"]
        biased = set(family.biased)
        biased |= set("qkv" if model_type == "qwen2" else "qkvo") if fields.get("attention_bias") else set()
        biased |= {"m"} if fields.get("mlp_bias") else set()
        window = fields.get("sliding_window") if fields.get("use_sliding_window", True) else None
        return cls(
            model_type or "unnamed",
            family,
            model_type in FAMILIES and not _odd(fields),
            hidden,
            fields["num_hidden_layers"],
            heads,
            fields.get("num_key_value_heads") or heads,
            fields.get("head_dim") or hidden // heads,
            fields.get("intermediate_size") or 4 * hidden,
            fields["vocab_size"],
            fields.get("max_position_embeddings") or 0,
            bool(family.tied if fields.get("tie_word_embeddings") is None else fields["tie_word_embeddings"]),
            "".join(sorted(biased)),
            window is None and fields.get("attn_logit_softcapping") is None,
        )


def _odd(config: Mapping[str, Any]) -> bool:
    """Does a known model type have what its family has not: a mixture of experts, a written-out activation?"""
    experts = any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    written = config.get("activation_function", "gelu_new") != "gelu_new"
    return experts or written


def read(model: str) -> Architecture:
    """Of an embedded model, a folder, a config file, a GGUF file or a hub id.

    Raises ValueError, one line, where there is none.
    """
    model = base_of(model) if is_adapter(model) else model
    path = embedded(model) or Path(model)
    if model.lower().endswith(".gguf"):
        from harness.models.files.gguf import config_of

        return Architecture.of(config_of(path, model))
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        try:
            table = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"model: {file} is not a config.json: {str(error).splitlines()[0]}") from error
        if not isinstance(table, dict):
            raise ValueError(f"model: {file} is not a config.json: it holds no table")
        return Architecture.of(table)
    if path.exists() or model.startswith((".", "/")) or model.endswith(".json"):
        raise ValueError(f"model: {model} has no config.json")
    return Architecture.of(_from_hub(model))


def _from_hub(model: str) -> dict[str, Any]:
    from transformers import AutoConfig

    from harness.models.files.quiet import silenced
    from harness.models.foreign_code import reason_of

    try:
        with silenced():
            return dict(AutoConfig.from_pretrained(model, trust_remote_code=False).to_dict())
    except Exception as error:  # transformers raises many kinds; the user needs the model's name and the reason
        valid = f"embedded: {', '.join(embedded_models())}"
        raise ValueError(
            f"model: no configuration of '{model}' ({valid}; a folder; a file; a hub id): {reason_of(error)}"
        ) from error
