"""Starting models that ship with the package, and the scale settings that belong to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.config.files.tables import load_table

DEFAULTS = "model_defaults.toml"  # beside a model's weights: learning rate, prompts per round, lengths
FORMER = "profile.toml"  # its former name, in folders of earlier runs
FORMER_FIELDS = {"micro_tokens": "micro_batch_tokens", "rollout_rows": "rollout_batch_size"}  # and of fields in it
PACKAGE = "package.toml"  # of a model whose weights are in a package of their own
MODELS = Path(__file__).parent.parent / "models" / "embedded"

# What a model may set: how much at once and how fast.  A model's folder may come from anywhere, so that it may name
# neither code (a reward, an algorithm), nor files and folders, nor what is measured.
SCALE = (
    "prompts", "group_size", "max_new_tokens", "lr", "warmup", "decay", "temperature", "budget", "micro_batch_tokens",
    "rollout_batch_size",
)  # fmt: skip
PLANNER = "planner"  # a table of what is known of the model's runs: no field of a run
SCALE_OF_GROUPS = {"reward_model": ("lr",)}


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A model that a package of PyPI holds, as its package.toml has it."""

    package: str
    version: str  # the one that `sha256` is of
    file: str  # in the package's folder of installed files
    sha256: str
    install: str  # the command, in a message where it is not there
    model: str  # whose, and what became of it on the way, for the record
    license: str
    hub: tuple[str, ...]  # hub ids that its defaults hold for, too


@cache
def packaged_models() -> dict[str, Packaged]:
    """By name."""
    fields = {file.parent.name: load_table(file) for file in sorted(MODELS.glob(f"*/{PACKAGE}"))}
    return {name: Packaged(**{**given, "hub": tuple(given["hub"])}) for name, given in fields.items()}


def packaged(model: str) -> Packaged | None:
    return packaged_models().get(model)


def defaults_file(model: str) -> Path | None:
    """The model_defaults.toml of an embedded model (by name, or by the hub id of a packaged one) or of a model's
    folder, where it has one."""
    same = [MODELS / name for name, package in packaged_models().items() if model in package.hub]
    files = (folder / name for folder in (MODELS / model, Path(model), *same) for name in (DEFAULTS, FORMER))
    return next((file for file in files if file.exists()), None)


def defaults_of(model: str) -> dict[str, Any]:
    """Its fields; none, so that the general defaults hold, where there is no such file.

    Raises ValueError, naming the file and the field, where it sets anything but a scale field.
    """
    file = defaults_file(model)
    if file is None:
        return {}
    fields = {FORMER_FIELDS.get(name, name): value for name, value in load_table(file).items() if name != PLANNER}
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


def planner_facts(model: str) -> dict[str, Any]:
    """What its defaults file tells a plan, not a run: `completion_tokens` by task, the mean over a whole run."""
    file = defaults_file(model)
    facts = load_table(file).get(PLANNER, {}) if file else {}
    return facts if isinstance(facts, dict) else {}


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
    """True for an embedded model whose weights are nowhere: they have to be made."""
    return model in embedded_models() and not (MODELS / model / "config.json").is_file()


def recipe_of(model: str) -> dict[str, Any]:
    """How an embedded model is made: a table `run` of a run's fields, or a pretraining from scratch in stages."""
    return load_table(MODELS / model / "recipe.toml")


def recipe_runs() -> list[str]:
    """The embedded models whose recipe is a run from another model."""
    names = [name for name in embedded_models() if (MODELS / name / "recipe.toml").is_file()]
    return [name for name in names if "run" in recipe_of(name)]


def made_by(model: str) -> str:
    """The command that makes an embedded model without weights."""
    return f"`harness pretrain {model}{'' if model in recipe_runs() else ' --device cuda'}`"


def embedded(model: str) -> Path | None:
    """The folder of an embedded model, None for any other; a packaged one's has its config.json and no weights.

    Raises ValueError where it is a recipe alone.
    """
    if is_recipe_alone(model):
        raise ValueError(f"model: {model} has no weights here: {made_by(model)} makes them; then --model FOLDER")
    return MODELS / model if model in embedded_models() else None
