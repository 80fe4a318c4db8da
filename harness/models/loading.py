"""A model by name: embedded, a local folder, or a hub id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import AutocastKwargs
from huggingface_hub.utils import logging as hub_logging
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from harness.config.start_models import embedded, embedded_models
from harness.models.foreign_code import check_kernels, check_vocabulary, reason_of

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def pick_device(name: str) -> str:
    """`auto` is CUDA where there is one.  Raises ValueError where the device asked for is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: '{name}' is not a device; valid: auto, cpu, cuda, cuda:0, ...") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: '{name}' is not supported; valid: auto, cpu, cuda, cuda:0, ...")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: no '{name}' here: torch finds no CUDA device")
    return name


def accelerator(device: str, dtype: str) -> Accelerator:
    """Device placement and precision: fp32 weights, computed in bf16 on CUDA unless told otherwise."""
    mixed = dtype == "bfloat16" or (dtype == "auto" and device.startswith("cuda"))
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    AcceleratorState._reset_state()  # one run, one precision: a process may hold several runs after one another
    PartialState._reset_state()
    # A weight is cast once a pass anyway: the cache would only keep every layer's copy until the pass ends.
    precision = AutocastKwargs(cache_enabled=False)
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if mixed else "no", kwargs_handlers=[precision])


@contextmanager
def silenced() -> Iterator[None]:
    """transformers without its progress bars and advice, and the hub's client without a line for each new attempt."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(hub_verbosity)
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that `from_pretrained` loads as it is."""
    with silenced():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_model(name: str, dtype: str = "auto") -> tuple[Any, Any, dict[str, str]]:
    """(model, tokenizer, identity), the weights in fp32 (fp64 where asked), on the CPU.

    Raises ValueError with one line where there is no such model, or no weights or tokenizer in its folder.
    """
    path = embedded(name) or Path(name)
    local = path.is_dir()
    if local:
        _check_folder(path, name)
    elif path.exists() or name.startswith((".", "/")):
        raise ValueError(f"model: {name} is not a folder")
    where = str(path) if local else name
    weights = torch.float64 if dtype == "float64" else torch.float32
    try:
        with silenced():
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
            config = AutoConfig.from_pretrained(where, trust_remote_code=False)
            check_kernels(config)
            model = AutoModelForCausalLM.from_pretrained(where, config=config, dtype=weights, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds; the user needs the model's name and the reason
        known = f"embedded: {', '.join(embedded_models())}"
        raise ValueError(
            f"model: cannot load '{name}' ({known}; a local folder; a hub id): {reason_of(error)}"
        ) from error
    check_vocabulary(tokenizer, model, name)
    identity = {"name": name}
    if local:
        identity["sha256"] = weights_sha256(path)
    else:
        identity["revision"] = str(getattr(model.config, "_commit_hash", None))
    return model, tokenizer, identity


def _check_folder(path: Path, name: str) -> None:
    if not (path / "config.json").is_file():
        raise ValueError(f"model: {name} has no config.json")
    if not any(file for pattern in WEIGHTS for file in path.glob(pattern)):
        raise ValueError(f"model: {name} has no weights ({' or '.join(WEIGHTS)})")
    if not any((path / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise ValueError(f"model: {name} has no tokenizer (tokenizer.json)")


def weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def context_of(model: Any) -> int:
    """Tokens that a sequence may have; effectively unlimited where the configuration names no limit."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 10**9)
