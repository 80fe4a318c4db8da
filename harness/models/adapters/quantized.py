"""A frozen base in 4 bits (QLoRA, 2305.14314), by bitsandbytes.  On CUDA alone; it has not been run (results/gpu)."""

from __future__ import annotations

from typing import Any

import torch

from harness.config.lora import LoraFields

EXTRA = "pip install 'post-training-harness[quantized]'"


def loading_options(fields: LoraFields | None, device: str) -> dict[str, Any]:
    """What `from_pretrained` is given beside the name; nothing for a full base.

    Products are in the precision of the pass (autocast's, or fp32 in the self-check), of weights that are put together
    from 4 bits for each.  Raises ValueError, one line, without CUDA or without bitsandbytes.
    """
    if fields is None or fields.base == "full":
        return {}
    if not device.startswith("cuda"):
        raise ValueError(f"lora.base: {fields.base} needs a CUDA device, not {device}: here the base is held in full")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"lora.base: {fields.base} needs bitsandbytes, which is not installed here: {EXTRA}"
        ) from error
    from transformers import BitsAndBytesConfig

    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    return {"quantization_config": how, "device_map": {"": device}}
