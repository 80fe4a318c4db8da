"""Starting models that ship with the package, and the scale settings that belong to a model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

DEFAULTS = "model_defaults.toml"  # beside a model's weights: learning rate, prompts per round, lengths
FORMER = "profile.toml"  # its former name, in folders of earlier runs
MODELS = Path(__file__).parent.parent / "models" / "embedded"


def defaults_file(model: str) -> Path | None:
    """The model_defaults.toml of an embedded model (by name) or of a model's folder, where it has one."""
    files = (folder / name for folder in (MODELS / model, Path(model)) for name in (DEFAULTS, FORMER))
    return next((file for file in files if file.is_file()), None)


def defaults_of(model: str) -> dict[str, Any]:
    """Its fields; none, so that the general defaults hold, where there is no such file."""
    file = defaults_file(model)
    return load_toml(file) if file else {}


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
    """Raises ValueError naming the file where it is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"config: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not valid TOML: {error}") from error
