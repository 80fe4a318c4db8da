"""A model by name: embedded, in a package, a GGUF file, a local folder, or a hub id."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import AutocastKwargs
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from harness.config.lora import base_of, is_adapter
from harness.config.start_models import embedded_models
from harness.models.adapters.folders import check_base, merged
from harness.models.files import packaged
from harness.models.files.quiet import silenced
from harness.models.files.weights import check_weights, lacking_experts
from harness.models.foreign_code import check_kernels, check_vocabulary, reason_of
from harness.processes.launch import own_device
from harness.records import variables

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def pick_device(name: str) -> str:
    """`auto` is CUDA where there is one; of several processes each has a CUDA device of its own.

    Raises ValueError where the device asked for is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: '{name}' is not a device; valid: auto, cpu, cuda, cuda:0, ...") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: '{name}' is not supported; valid: auto, cpu, cuda, cuda:0, ...")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: no '{name}' here: torch finds no CUDA device")
    return own_device(name, torch.cuda.device_count() if device.type == "cuda" else 0)


def accelerator(device: str, dtype: str) -> Accelerator:
    """Device placement and precision: fp32 weights, computed in bf16 on CUDA unless told otherwise.

    The environment has no say in it.  Raises ValueError, one line, where it asks for what a run cannot do.
    """
    variables.check(os.environ)
    mixed = dtype == "bfloat16" or (dtype == "auto" and device.startswith("cuda"))
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    AcceleratorState._reset_state()  # one run, one precision: a process may hold several runs after one another
    PartialState._reset_state()
    GradientState._reset_state()
    # A weight is cast once a pass anyway: the cache would only keep every layer's copy until the pass ends.
    precision = AutocastKwargs(cache_enabled=False)
    with variables.hidden():
        return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if mixed else "no", kwargs_handlers=[precision])


def save_model(
    model: Any, tokenizer: Any, folder: Path, generation: GenerationConfig | None = None, weights: Any = None
) -> None:
    """A folder that `from_pretrained` loads as it is; `generation` is how it generates there, by default as here, and
    `weights` what is saved in the place of the model's own."""
    own = getattr(model, "generation_config", None)
    with silenced():
        try:
            if generation is not None:
                model.generation_config = generation
            model.save_pretrained(folder, state_dict=weights)
        finally:
            if generation is not None:
                model.generation_config = own
        tokenizer.save_pretrained(folder)


NO_SAMPLING = (
    "bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "max_length", "transformers_version", "do_sample",
)  # fmt: skip
NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "num_beams": 1}


def _unused_generation(model: Any, name: str) -> list[str]:
    """A notice of what the model's generation_config.json sets beside token ids: a run samples in its own way."""
    fields = model.generation_config.to_diff_dict() if model.generation_config is not None else {}
    others = [
        f"{name}={value}"
        for name, value in fields.items()
        if name not in NO_SAMPLING and not name.startswith("_") and value not in (None, False, NEUTRAL.get(name))
    ]
    if not others:
        return []
    return [
        f"{name}: generation_config.json is not used ({', '.join(others)}): a run draws from the whole distribution"
    ]


def load_model(
    name: str,
    dtype: str = "auto",
    notices: list[str] | None = None,
    merge: bool = True,
    options: Mapping[str, Any] | None = None,
) -> tuple[Any, Any, dict[str, str]]:
    """(model, tokenizer, identity), the weights in fp32 (fp64 where asked), on the CPU.

    A folder with an adapter is its base with the adapter merged into it, or, without `merge`, its base alone.
    `options` go to `from_pretrained`.

    Raises ValueError with one line where there is no such model, no weights or tokenizer in its folder, or weights that
    do not fit its configuration.  What the user should know of them is added to `notices`.
    """
    if is_adapter(name):
        return _adapted(name, dtype, notices, merge, options)
    folder = packaged.folder_of(name)
    path, local = folder or Path(name), folder is not None
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
            how: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True, **(options or {})}
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where, config=config, dtype=weights, trust_remote_code=False, **how
            )
    except Exception as error:  # transformers raises many kinds; the user needs the model's name and the reason
        if local and (lacking := lacking_experts(path)):
            raise ValueError(f"model: {name}: {lacking}") from error
        known = f"embedded: {', '.join(embedded_models())}"
        raise ValueError(
            f"model: cannot load '{name}' ({known}; a local folder; a hub id): {reason_of(error)}"
        ) from error
    model, info = loaded
    what = f"model: {name}"
    found = [*check_weights(model, info, what), *append_nothing(tokenizer, what), *_unused_generation(model, what)]
    check_vocabulary(tokenizer, model, name)
    identity = {"name": name}
    if local:
        identity["sha256"] = weights_sha256(path)
        identity |= packaged.identity(name, path, identity["sha256"])
        found += packaged.notices(name, path)
    else:
        identity["revision"] = str(getattr(model.config, "_commit_hash", None))
    if notices is not None:
        notices += found
    return model, tokenizer, identity


def _adapted(
    name: str, dtype: str, notices: list[str] | None, merge: bool, options: Mapping[str, Any] | None
) -> tuple[Any, Any, dict[str, str]]:
    """The base of an adapter's folder, and the tokenizer beside the adapter where there is one."""
    model, tokenizer, base = load_model(base_of(name), dtype, notices, options=options)
    check_base(name, base)
    if (Path(name) / "tokenizer_config.json").is_file():
        try:
            with silenced():
                tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except Exception as error:
            raise ValueError(f"model: {name}: its tokenizer cannot be loaded: {reason_of(error)}") from error
        append_nothing(tokenizer, f"model: {name}")
        check_vocabulary(tokenizer, model, name)
    identity = {"name": name, "sha256": weights_sha256(Path(name))}
    identity |= {f"base_{key}": value for key, value in base.items()}
    return (merged(model, name) if merge else model), tokenizer, identity


def append_nothing(tokenizer: Any, name: str) -> list[str]:
    """Have the tokenizer put nothing behind a text, whatever it puts before it.

    With add_eos_token=true it puts the end token there: a prompt would be over before the model writes a word.  A
    notice says so.  Where its post-processor cannot be changed, prompts that end so are refused as they are read.
    """
    for probe in ("a", "0", "the", *sorted(tokenizer.get_vocab())[:100]):
        whole, bare = (list(tokenizer(probe, add_special_tokens=special)["input_ids"]) for special in (True, False))
        places = [i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare]
        if len(places) == 1:
            break
    else:
        return []
    before, after = whole[: places[0]], whole[places[0] + len(bare) :]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not after or backend is None:
        return []
    words = tokenizer.convert_ids_to_tokens(before)
    parts = [f"{word}:0" for word in words]
    backend.post_processor = TemplateProcessing(
        single=[*parts, "$A:0"], pair=[*parts, "$A:0", "$B:1"], special_tokens=list(zip(words, before, strict=True))
    )
    if hasattr(tokenizer, "_add_eos_token"):
        tokenizer._add_eos_token = False  # else the next change of a special token would bring it back
    ends = " ".join(tokenizer.convert_ids_to_tokens(after))
    return [f"{name}: its tokenizer puts {ends} behind every text: not behind prompts, and not in what is saved"]


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
        with file.open("rb") as stream:  # a block at a time: the weights may be larger than what memory is left
            for block in iter(lambda: stream.read(2**24), b""):
                digest.update(block)
    return digest.hexdigest()


def context_of(model: Any) -> int:
    """Tokens that a sequence may have; effectively unlimited where the configuration names no limit."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 10**9)
