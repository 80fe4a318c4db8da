"""An adapter's folder as a whole model's: `harness merge`."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import GenerationConfig

from harness.config.lora import ADAPTER_CONFIG, is_adapter
from harness.config.start_models import DEFAULTS, defaults_file
from harness.models.loading import load_model, save_model


def merge_folder(name: str, out: Path, dtype: str = "auto") -> None:
    """An adapter's folder -> a whole model's, which plain transformers loads.  Raises ValueError, one line."""
    if not is_adapter(name):
        raise ValueError(f"merge: {name} is no adapter (it has no {ADAPTER_CONFIG})")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {out} is there already; choose another folder")
    model, tokenizer, _ = load_model(name, dtype)
    file = Path(name) / "generation_config.json"
    save_model(model, tokenizer, out, GenerationConfig.from_pretrained(name) if file.is_file() else None)
    if profile := defaults_file(name):
        shutil.copyfile(profile, out / DEFAULTS)
