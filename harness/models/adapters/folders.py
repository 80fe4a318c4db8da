"""PEFT folders: adapter_config.json and adapter_model.safetensors, as `PeftModel.from_pretrained` loads them.

Beside them harness_base.json says which base an adapter was made on, by its bytes: an adapter on another base is
another model, and nothing in PEFT's own files tells.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.config.lora import ADAPTER_BASE, LoraFields, made_on, read_adapter
from harness.models.adapters.adapter_set import POLICY, AdapterSet, check_installed
from harness.records.io import write_json

WEIGHTS = "adapter_model.safetensors"
SHOWN = 3


def save(adapters: AdapterSet, folder: Path, base: Mapping[str, str]) -> None:
    """The policy's adapter; `base` is the identity of the model that it is on (name, sha256 or revision)."""
    path, config = Path(base["name"]), copy.copy(adapters.peft_model.peft_config[POLICY])
    config.base_model_name_or_path = str(path.absolute()) if path.is_dir() else adapters.model.name_or_path
    config.target_modules, config.inference_mode = sorted(config.target_modules), True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    tensors = {name: x.detach().cpu().contiguous() for name, x in adapters.state(POLICY).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / ADAPTER_BASE, dict(base))


def base_identity(identity: Mapping[str, str]) -> dict[str, str]:
    """Of the model that a run began with, or of that one's base where it began with an adapter."""
    base = {name.removeprefix("base_"): value for name, value in identity.items() if name.startswith("base_")}
    return base or dict(identity)


def weights_of(folder: str) -> dict[str, Tensor]:
    """Raises ValueError naming the file."""
    file = Path(folder) / WEIGHTS
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"model: {file} cannot be read: {str(error).splitlines()[0]}") from error


def fill(adapters: AdapterSet, folder: str) -> None:
    """The policy's adapter <- the folder's.  Raises ValueError where they differ in fields or tensors."""
    check_fields(adapters.fields, folder)
    from peft import set_peft_model_state_dict

    found = weights_of(folder)
    check_tensors(adapters.state(POLICY), found, folder)
    set_peft_model_state_dict(adapters.peft_model, found, adapter_name=POLICY)


def check_fields(fields: LoraFields, folder: str) -> None:
    """Raises ValueError where an adapter that is to be trained on is not of the kind that was asked for."""
    table = read_adapter(folder)
    if table.get("peft_type") != "LORA":
        raise ValueError(f"lora: {folder} holds an adapter of type {table.get('peft_type')}, not LORA")
    theirs = {"r": table.get("r"), "alpha": table.get("lora_alpha")}
    theirs |= {"dora": bool(table.get("use_dora")), "rslora": bool(table.get("use_rslora"))}
    for name, value in theirs.items():
        if value != getattr(fields, name):
            raise ValueError(
                f"lora.{name}: the adapter in {folder} has {value}, not {getattr(fields, name)}: give its own value to "
                "train it on, or merge it first (`harness merge`) and train another"
            )


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], folder: str) -> None:
    """Raises ValueError, naming the first of them, where tensors are missing, left over or of another shape."""
    faults = [f"lacks {_some(missing)}"] if (missing := sorted(set(expected) - set(found))) else []
    faults += (
        [f"holds {_some(over)}, which have no place in it"] if (over := sorted(set(found) - set(expected))) else []
    )
    shapes = [n for n in sorted(set(found) & set(expected)) if found[n].shape != expected[n].shape]
    if shapes:
        n = shapes[0]
        faults.append(f"has another shape: {n} {tuple(found[n].shape)} where the base needs {tuple(expected[n].shape)}")
    if faults:
        raise ValueError(f"model: the adapter in {folder} is not for this base: it {'; it '.join(faults)}")


def check_base(folder: str, identity: Mapping[str, str]) -> None:
    """Raises ValueError where an adapter was made on a base of other bytes."""
    made = made_on(folder)
    for name in ("sha256", "revision"):
        if name in made and name in identity and made[name] != identity[name]:
            theirs, ours = (
                f"{made.get('name')} ({name} {made[name][:12]})",
                f"{identity['name']} ({identity[name][:12]})",
            )
            raise ValueError(f"model: the adapter in {folder} was made on another base: {theirs}, not {ours}")


def merged(model: Any, folder: str) -> Any:
    """base + adapter as one plain model: W + (alpha / r) B A (of any type that peft merges).  The base is changed.

    Raises ValueError, one line, where the adapter does not fit the base or cannot be merged.
    """
    check_installed()
    from peft import PeftModel, get_peft_model_state_dict

    found = weights_of(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's on tensors that are missing: here they are a fault
            adapted: Any = PeftModel.from_pretrained(model, folder)
        check_tensors(get_peft_model_state_dict(adapted, save_embedding_layers=False), found, folder)
        plain = adapted.merge_and_unload(safe_merge=True)
    except (RuntimeError, TypeError, KeyError, AttributeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if lines[0].startswith("model: "):
            raise
        raise ValueError(f"model: the adapter in {folder} is not for this base: {' '.join(lines[:2])}") from error
    plain.requires_grad_(True)
    return plain.eval()


def plain_copy(adapters: AdapterSet) -> Any:
    """The policy as it is, a plain model of its own: what is not an adapter's business may be built from it."""
    with adapters.acting(POLICY):
        twin = copy.deepcopy(adapters.peft_model)
    return twin.merge_and_unload(adapter_names=[POLICY]).requires_grad_(True).eval()


def _some(names: list[str]) -> str:
    shown = names[:SHOWN] + ([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({', '.join(shown)})"
