"""Do the weights that were loaded fit their configuration, tensor by tensor?

transformers fills a tensor that the files lack with random numbers and passes over one that the configuration has no
place for; both give another model than the one that was named.  Here both are faults, but for the table below.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

SHOWN = 4  # tensors that a message names

# What files may hold and a text model has no place for: a notice names it.  All else is a part of the model, e.g. a
# layer, an expert or a bias that the configuration has not: a fault.
BESIDE = {
    "what is computed, not learned": r"(rotary_emb\.inv_freq|\.(attn|attention)\.(masked_)?bias|position_ids)$",
    "a head for another purpose": r"^(v_head|value_head|reward_head|score|classifier|lm_head|cls)\.",
    "layers that draft tokens": r"(^|\.)mtp(_\w+)?\.",
    "another modality": r"(^|\.)(vision|visual|audio|image|speech|multi_modal|mm)[a-z_]*\.",
}


def check_weights(model: Any, info: Mapping[str, Any], name: str) -> list[str]:
    """`info` is what `from_pretrained(..., output_loading_info=True, ignore_mismatched_sizes=True)` says of the model.

    Returns what the user should know.  Raises ValueError, one line that names the tensors, where one is missing or has
    another shape, or is left over and not in the table.  A tied tensor that is written once, what the architecture
    itself may lack (`_keys_to_ignore_on_load_missing`) and buffers are not missing.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"{name}: it is an adapter on another model (adapter_config.json): merge it into that one first"
        )
    buffers = {key for key, _ in model.named_buffers()}
    missing = sorted(set(info["missing_keys"]) - buffers, key=_order)
    left_over = sorted(info["unexpected_keys"], key=_order)
    beside = [key for key in left_over if any(re.search(pattern, key) for pattern in BESIDE.values())]
    misplaced = [key for key in left_over if key not in beside]
    shapes = [
        f"{key} {_shape(found)} where the configuration has {_shape(expected)}"
        for key, found, expected in sorted(info["mismatched_keys"], key=lambda item: _order(item[0]))
    ]
    faults = [
        f"lack {_some(missing)}, which the configuration asks for" if missing else "",
        f"have no place for {_some(misplaced)} in the model of the configuration" if misplaced else "",
        f"have another shape: {_some(shapes)}" if shapes else "",
    ]
    if any(faults):
        raise ValueError(f"{name}: the weights {'; and they '.join(filter(None, faults))}")
    notices = [f"{name}: the weights hold {_some(beside)}, which a text model has no place for"] if beside else []
    if absent := sorted(set(info["missing_keys"]) & buffers, key=_order):
        notices.append(f"{name}: the weights lack {_some(absent)}: buffers, which start at their defaults")
    return notices + _untied(model, name)


EXPERT = re.compile(r"(.*\bexperts)\.(\d+)\.(.+)")


def lacking_experts(folder: Path) -> str | None:
    """What transformers does not say where it cannot stack the experts of a layer: which of them the files lack.

    None where each layer's experts have the same tensors, and where the folder has no safetensors that can be read.
    """
    layers: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as tensors:
                keys = list(tensors.keys())
        except (OSError, SafetensorError):
            return None
        for layer, expert, part in (found.groups() for key in keys if (found := EXPERT.fullmatch(key))):
            layers[layer][part].add(expert)
    lacking = []
    for layer, parts in layers.items():
        known = set().union(*parts.values())
        lacking += [f"{layer}.{expert}.{part}" for part, those in parts.items() for expert in known - those]
    return f"the weights lack {_some(sorted(lacking, key=_order))}, which other experts have" if lacking else None


def _untied(model: Any, name: str) -> list[str]:
    """Files may hold an output head of its own where the configuration says that there is none: it is read."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False) or head is None:
        return []
    if head.weight is table.weight:
        return []
    return [f"{name}: config.json has tie_word_embeddings=true, but the weights hold another output head: it is used"]


def _order(key: str) -> list[tuple[int, str]]:
    """Layer 2 before layer 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in key.split(".")]


def _shape(size: Iterable[int]) -> str:
    return f"({', '.join(map(str, size))})"


def _some(names: list[str]) -> str:
    """Their number and the first of them.

    >>> _some(["a", "b", "c", "d", "e"])
    '5 tensors (a, b, c, d, 1 more)'
    """
    shown = names[:SHOWN] + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({', '.join(shown)})"
