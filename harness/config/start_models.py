"""Starting models that ship with the package, and the scale settings that belong to a model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULTS = "model_defaults.toml"  # beside a model's weights: learning rate, prompts per round, lengths
FORMER = "profile.toml"  # its former name, in folders of earlier runs
FORMER_FIELDS = {"micro_tokens": "micro_batch_tokens", "rollout_rows": "rollout_batch_size"}  # and of fields in it
MODELS = Path(__file__).parent.parent / "models" / "embedded"

# What a model may set: how much at once and how fast.  A model's folder may come from anywhere, so that it may name
# neither code (a reward, an algorithm), nor files and folders, nor what is measured.
SCALE = (
    "prompts", "group_size", "max_new_tokens", "lr", "warmup", "decay", "temperature", "budget", "micro_batch_tokens",
    "rollout_batch_size",
)  # fmt: skip
SCALE_OF_GROUPS = {"reward_model": ("lr",)}


def defaults_file(model: str) -> Path | None:
    """The model_defaults.toml of an embedded model (by name) or of a model's folder, where it has one."""
    files = (folder / name for folder in (MODELS / model, Path(model)) for name in (DEFAULTS, FORMER))
    return next((file for file in files if file.exists()), None)


def defaults_of(model: str) -> dict[str, Any]:
    """Its fields; none, so that the general defaults hold, where there is no such file.

    Raises ValueError, naming the file and the field, where it sets anything but a scale field.
    """
    file = defaults_file(model)
    if file is None:
        return {}
    fields = {FORMER_FIELDS.get(name, name): value for name, value in load_toml(file).items()}
    for name, value in fields.items():
        if name in SCALE:
            continue
        inner = SCALE_OF_GROUPS.get(name)
        if inner is not None and not isinstance(value, dict):
            raise ValueError(f"{file}: {name}: must be a table of fields, not {value!r}")
        wrong = [name] if inner is None else [f"{name}.{x}" for x in value if x not in inner]
        if wrong:
            valid = [*SCALE, *(f"{group}.{x}" for group, names in SCALE_OF_GROUPS.items() for x in names)]
            raise ValueError(f"{file}: a model may not set {wrong[0]}, only its scale: {', '.join(valid)}")
    return fields


def defaults_notice(model: str, sources: Mapping[str, str]) -> list[str]:
    """What a run takes from the file in a model's folder: the user should know, for it came with the model."""
    file = defaults_file(model)
    if file is None or file.is_relative_to(MODELS):
        return []
    names = [name for name, source in sources.items() if source == "profile"]
    return [f"{file} sets {', '.join(names)}"] if names else []


def final_of(folder: Path) -> Path:
    """Of a run's folder the model that it ended with; any other folder is one itself."""
    final = folder / "checkpoints" / "final"
    return final if (folder / "record.json").is_file() and final.is_dir() else folder


def embedded_models() -> list[str]:
    return sorted(p.parent.name for p in MODELS.glob(f"*/{DEFAULTS}"))


def is_recipe_alone(model: str) -> bool:
    """True for an embedded model whose weights do not ship."""
    return model in embedded_models() and not (MODELS / model / "config.json").is_file()


def embedded(model: str) -> Path | None:
    """The folder of an embedded model, None for any other.  Raises ValueError where it is a recipe alone."""
    if is_recipe_alone(model):
        command = f"`harness pretrain {model} --device cuda`"
        raise ValueError(f"model: {model} has no weights here: {command} makes them; then --model FOLDER")
    return MODELS / model if model in embedded_models() else None


def load_toml(path: Path) -> dict[str, Any]:
    """Raises ValueError naming the file where it is missing or not TOML.

    A pipe on the disk may have nobody who writes to it, and would be waited for; one of the shell's, `<(...)`, is read.
    """
    if path.is_fifo() and not path.is_relative_to("/dev"):
        raise ValueError(f"config: cannot read {path}: it is a pipe, not a file")
    try:
        return tomllib.loads(path.read_text())
    except RecursionError:
        raise ValueError(f"config: {path} is nested too deeply") from None
    except OSError as error:
        raise ValueError(f"config: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not valid TOML: {error}") from error
