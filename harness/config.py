"""What a run is asked to do: defaults < the model's profile < a TOML file < the command line.

Scale fields (learning rate, prompts a round, G, lengths) come from the model's profile; fields that define an
algorithm from the algorithm's own file.  A field that nobody knows is an error that lists the valid ones.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.budget import Budget

GROUPS = ("algo", "task", "reward_model", "reward_weights")  # tables of fields: --set GROUP.FIELD=...
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Every field of a run, resolved.  `algo` and `task` hold the fields of their own dataclasses."""

    algo_name: str = "grpo"
    task_name: str = "arithmetic"
    model: str = "nano"
    algo: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    reward: str = "rule"
    reward_model: dict[str, Any] = field(default_factory=dict)  # harness/reward_models/fields.py
    reward_weights: dict[str, float] = field(default_factory=dict)  # of terms (harness/terms.py)
    reward_noise: float = 0.0  # share of the rule's labels that are flipped, 0 to 0.5
    iterations: int = 1  # equal shares of the budget, between which the next two act (2402.03300, Algorithm 1)
    reset_reference: bool = False  # the reference becomes the policy
    refresh_reward: bool = False  # the reward model is trained on
    measure_kl: bool = False  # KL to the start model is measured where nothing else asks for a reference
    budget: str = "completions=8192"
    seed: int = 0
    # scale: the model's profile has the last word on these defaults
    prompts: int = 32  # P, a round
    group_size: int = 16  # G
    max_new_tokens: int = 512
    lr: float = 1e-6
    warmup: int = 0  # updates
    decay: Literal["constant", "linear"] = "constant"
    temperature: float = 1.0
    # evaluation
    eval_fractions: tuple[float, ...] = (0.0, 0.5, 1.0)  # of the budget
    eval_tasks: tuple[str, ...] = ()  # lm-eval's stock tasks, as further columns
    eval_limit: int | None = None  # problems of each evaluation
    eval_split: Literal["test", "selection"] = "test"  # selection: what settings are tuned on
    eval_samples: int = 0  # of each in-domain problem at temperature 1, at the start and the end: pass@k, maj@k
    keep_outcomes: Literal["all", "ends"] = "all"  # of each problem: at every point, or at the start and the end
    # machine
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto"  # auto: fp32 on CPU, bf16 autocast on CUDA
    micro_tokens: int = 4096  # tokens of one forward and backward
    gradient_checkpointing: bool = False  # a third more work, few activations
    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = "adamw"  # the 8-bit ones are bitsandbytes'
    reference_on: Literal["device", "cpu"] = "device"  # cpu: parked there, and brought in for its reading of a round
    rollout_rows: int = 256  # completions decoded at once
    # where
    name: str | None = None
    out: str = "results"
    keep_checkpoints: int = 1  # the newest so many; 0 writes none
    checkpoint_every: int = 10  # rounds
    resume: bool = False  # go on with the run in the folder
    sources: dict[str, str] = field(default_factory=dict)  # field -> profile | file | flag; the rest is default

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def profile_file(model: str) -> Path | None:
    """The profile.toml of an embedded model (by name) or of a model's folder, where it has one."""
    found = (folder / "profile.toml" for folder in (MODELS / model, Path(model)))
    return next((file for file in found if file.is_file()), None)


def profile_of(model: str) -> dict[str, Any]:
    """What its profile says; nothing, and the general defaults stand, where there is none."""
    file = profile_file(model)
    return load_toml(file) if file else {}


def embedded_models() -> list[str]:
    return sorted(p.parent.name for p in MODELS.glob("*/profile.toml"))


def is_recipe_alone(model: str) -> bool:
    """An embedded model whose weights do not ship."""
    return model in embedded_models() and not (MODELS / model / "config.json").is_file()


def embedded(model: str) -> Path | None:
    """The folder of an embedded model, None for any other.  Raises ValueError where it is a recipe alone."""
    if is_recipe_alone(model):
        made = f"`harness pretrain {model} --device cuda` makes them"
        raise ValueError(f"model: {model} has no weights here: {made}; then --model FOLDER")
    return MODELS / model if model in embedded_models() else None


def load_toml(path: Path) -> dict[str, Any]:
    """Raises ValueError naming the file where it is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"config: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not valid TOML: {error}") from error


def resolve(
    flags: dict[str, Any], settings: list[str], file: str | None, under: dict[str, Any] | None = None
) -> RunConfig:
    """Merge the four layers.  `settings` are the `--set field=value` words; flags that are None are unset; `under` lies
    under the file."""
    layers: list[tuple[str, dict[str, Any]]] = [("file", under)] if under else []
    if file is not None:
        layers.append(("file", load_toml(Path(file))))
    asked = {k: v for k, v in flags.items() if v is not None}
    for word in settings:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set: '{word}' is not field=value")
        put(asked, name, value)
    layers.append(("flag", asked))
    return merge(layers)


def merge(layers: list[tuple[str, dict[str, Any]]]) -> RunConfig:
    """(source, table) layers, later ones over earlier ones, under them the profile of the model that they name."""
    layers = [(source, _nested(layer)) for source, layer in layers]
    model = next((layer["model"] for _, layer in reversed(layers) if "model" in layer), RunConfig.model)
    if not isinstance(model, str):
        raise ValueError(f"model: must be an embedded model's name, a folder or a hub id, not {model!r}")
    layers.insert(0, ("profile", _nested(profile_of(model))))
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        for name, value in layer.items():
            if isinstance(value, dict) and name in GROUPS:
                merged.setdefault(name, {}).update(value)
                sources.update({f"{name}.{k}": source for k in value})
            else:
                merged[name], sources[name] = value, source
    merged["sources"] = sources
    return check(build(RunConfig, merged, ""))


def _nested(table: dict[str, Any]) -> dict[str, Any]:
    """In a file, `algo = "grpo"` names the algorithm and `[algo]` holds its fields, `name` among them."""
    out = check_groups(table)
    for key in ("algo", "task"):
        value = out.get(key)
        if isinstance(value, str):
            out[f"{key}_name"] = out.pop(key)
        elif isinstance(value, dict) and "name" in value:
            out[f"{key}_name"] = value["name"]
            out[key] = {k: v for k, v in value.items() if k != "name"}
    return out


def check_groups(table: dict[str, Any], place: str = "") -> dict[str, Any]:
    """A copy.  Raises ValueError, naming the field as `place` + its name, where a group is no table of fields."""
    for group in GROUPS:
        value, named = table.get(group, {}), group in ("algo", "task")
        if not isinstance(value, (dict, str) if named else dict):
            raise ValueError(f"{place}{group}: must be {'a name or ' * named}a table of fields, not {value!r}")
        if named and isinstance(value, dict) and not isinstance(value.get("name", ""), str):
            raise ValueError(f"{place}{group}.name: must be a name, not {value['name']!r}")
    return dict(table)


def put(asked: dict[str, Any], name: str, value: str) -> None:
    """A `--set` word into a table of flags."""
    group, dot, rest = name.partition(".")
    if dot and group in GROUPS:
        asked[group] = {**check_groups(asked).get(group, {}), rest: value}
    else:
        asked[{"algo": "algo_name", "task": "task_name"}.get(name, name)] = value


def check(config: RunConfig) -> RunConfig:
    """Ranges that a type does not say.  Raises ValueError naming the field."""
    Budget.parse(config.budget)
    sizes = ("prompts", "group_size", "max_new_tokens", "micro_tokens", "rollout_rows", "checkpoint_every")
    for least, names in ((1, (*sizes, "iterations")), (0, ("warmup", "keep_checkpoints"))):
        for name in names:
            if getattr(config, name) < least:
                raise ValueError(f"{name}: must be at least {least}, not {getattr(config, name)}")
    for name in ("temperature", "lr"):
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: must be positive, not {getattr(config, name)}")
    if config.iterations == 1 and (config.reset_reference or config.refresh_reward):
        raise ValueError("iterations: reset_reference and refresh_reward act between iterations: ask for 2 or more")
    if config.refresh_reward and not config.reward.endswith("-model"):
        raise ValueError(f"refresh_reward: reward={config.reward} has no model to refresh")
    if not 0 <= config.reward_noise <= 0.5:
        raise ValueError(f"reward_noise: must lie in 0..0.5, not {config.reward_noise}")
    if config.reward_noise and config.reward != "rule":
        raise ValueError(f"reward_noise: it flips the 0 and 1 of reward=rule, not what reward={config.reward} says")
    if config.eval_limit is not None and config.eval_limit < 1:
        raise ValueError(f"eval_limit: must be at least 1, not {config.eval_limit}")
    if config.eval_samples < 0 or config.eval_samples == 1:
        raise ValueError(f"eval_samples: 0, or at least 2 for an unbiased pass@1, not {config.eval_samples}")
    if any(not 0 <= f <= 1 for f in config.eval_fractions):
        raise ValueError(f"eval_fractions: must lie in 0..1, not {config.eval_fractions}")
    return config


Built = typing.TypeVar("Built")


def build(cls: type[Built], values: dict[str, Any], prefix: str) -> Built:
    """An instance of dataclass `cls`, its fields converted to their declared types.

    Raises ValueError naming the field (as `prefix` + name) and what is valid.
    """
    hints = typing.get_type_hints(cls)
    valid = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for name in values:
        if name not in valid:
            raise ValueError(f"{prefix}{name}: unknown field; valid: {', '.join(prefix + v for v in valid)}")
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{f.name}: missing")
    return cls(**{name: coerce(value, hints[name], prefix + name) for name, value in values.items()})


def coerce(value: Any, hint: Any, name: str) -> Any:
    """`value` (often a word of the command line) as the declared type.

    >>> coerce("0.1", float, "algo.kl_coef"), coerce("none", float | None, "x"), coerce("0,1", tuple[float, ...], "f")
    (0.1, None, (0.0, 1.0))
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
        raise ValueError(f"{name}: '{value}' is not one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        empty = value is None or (isinstance(value, str) and value.lower() in ("none", ""))
        if empty and type(None) in arguments:
            return None
        return coerce(value, next(a for a in arguments if a is not type(None)), name)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{name}: must be a table, not {value!r}")
        return build(hint, value, f"{name}.")  # type: ignore[arg-type]
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{name}: must be a list, not {value!r}")
        return [coerce(x, arguments[0], f"{name}.{i}" if isinstance(x, dict) else name) for i, x in enumerate(value)]
    if origin is tuple:
        items = [x for x in value.split(",") if x.strip()] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ValueError(f"{name}: '{value}' is not a list")
        return tuple(coerce(x.strip() if isinstance(x, str) else x, arguments[0], name) for x in items)
    if origin is dict or hint is dict:
        if isinstance(value, dict):
            return {k: coerce(v, arguments[1], f"{name}.{k}") for k, v in value.items()} if arguments else value
        raise ValueError(f"{name}: '{value}' is not a table of fields")
    return _scalar(value, hint, name)


def _scalar(value: Any, hint: type, name: str) -> Any:
    wrong = ValueError(f"{name}: '{value}' is not {'an' if hint is int else 'a'} {hint.__name__}")
    if hint is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise wrong
    if isinstance(value, bool) or value is None:
        raise wrong
    if hint is str:
        if isinstance(value, (str, int, float)):
            return str(value)
        raise wrong
    try:
        number = hint(value.replace("_", "") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if number != number or (hint is int and isinstance(value, float) and value != number):
        raise wrong
    clip = "clip" in name.rpartition(".")[2]  # at infinity it clips nothing
    if hint is float and math.isinf(number) and not clip:
        raise ValueError(f"{name}: must be finite, not {value}")
    return number
