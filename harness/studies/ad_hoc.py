"""Studies from the command line: the flags of `compare`, and what `ablate` overrides in a study file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.files.tables import load_table
from harness.config.overrides import Fields, check_groups, merge_overrides, nest_names, parse_setting, set_field
from harness.studies import scale_profiles
from harness.studies.schema import Tune
from harness.studies.study import Study, check, parse, seeds_of

FRACTIONS = [0, 0.25, 0.5, 0.75, 1]  # of the budget: enough points to see curves cross


def study_from_flags(
    algos: str, seeds: str, flags: dict[str, Any], settings: list[str], config: str | None, name: str | None
) -> Study:
    """The study of `harness compare`: one arm per algorithm, each with its own defaults.

    `settings` are `field=value` for all arms, or `ARM.field=value` for one arm's algorithm.
    """
    words = [word.strip() for word in algos.split(",") if word.strip()]
    arms: dict[str, Fields] = {Path(word).stem: {"algo": {"name": word}} for word in words}
    if len(arms) < len(words):
        raise ValueError(f"algos: '{algos}' names an algorithm twice; its arms would be one")
    base: Fields = {"eval_fractions": FRACTIONS, **(load_table(Path(config)) if config else {})}
    check_groups(base)
    base.pop("algo_name", None)  # the file may name an algorithm; the arms are named by `algos`
    if "algo" in base:
        base["algo"] = {k: v for k, v in merge_overrides(base)["algo"].items() if k != "name"}
    overrides = {k: v for k, v in flags.items() if v is not None}
    for word in settings:
        field, value = parse_setting(word)
        group, dot, inner = field.partition(".")
        if dot and group in arms:
            arms[group]["algo"][inner] = value
        else:
            set_field(overrides, field, value)
    table = {"arms": arms, "seeds": parse_seeds(seeds), "base": merge_overrides(base, nest_names(overrides))}
    return parse(name or f"compare-{'-'.join(arms)}", table)


RATES = (0.5, 1.0, 2.0)  # of --tune: of the learning rate that an arm would have
VALUE_RATES = (1.5, 5.0, 15.0)  # and of a value model's, over that
WIDEN = 3  # further trials


def tuned_study(study: Study, grids: list[str]) -> Study:
    """The study with trials before its runs: as many for every arm, on three seeds that are not used again.

    `grids` are `FIELD=A,B,...` of all arms, or `ARM.FIELD=...` of one algorithm; by default the learning rate, and of
    an arm with a value model its rate too, around what they would be.
    """
    common: Fields = {}
    own: dict[str, Fields] = {}
    for word in grids:
        name, value = parse_setting(word)
        group, dot, inner = name.partition(".")
        table, field = (own.setdefault(group, {}), f"algo.{inner}") if dot and group in study.arms else (common, name)
        table[field] = [_number(x) for x in value.split(",") if x.strip()]
    if not grids:
        common, own = _default_grids(study)
    tune = Tune(grid=common, own=own, design="star", widen=WIDEN)
    return check(dataclasses.replace(study, tune=tune))


def _default_grids(study: Study) -> tuple[Fields, dict[str, Fields]]:
    from harness.studies.status import resolved_config

    configs = {run.arm: resolved_config(run, "results") for run in reversed(study.runs())}
    lr = next(iter(configs.values()))["lr"]
    value = {"algo.value_lr": [float(f"{lr * x:.3g}") for x in VALUE_RATES]}
    with_critic = [arm for arm in study.arms if configs[arm]["algo"].get("critic", "none") != "none"]
    return {"lr": [float(f"{lr * x:.3g}") for x in RATES]}, {arm: dict(value) for arm in with_critic}


def _number(word: str) -> Any:
    """A whole number, a number, or the word itself."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word.strip()


def override_study(
    study: Study,
    seeds: str | None,
    settings: list[str],
    name: str | None,
    profile: str | None = None,
    eval_files: Mapping[str, str] | None = None,
) -> Study:
    """The study at another scale, with other seeds, other base fields or more test sets than in its file."""
    if profile is not None:
        study = scale_profiles.apply_scale_profile(study, scale_profiles.load(profile))
    flat: Fields = {}
    for word in settings:
        set_field(flat, *parse_setting(word))
    if eval_files:
        flat["task"] = {**flat.get("task", {}), "eval_files": dict(eval_files)}
    overrides = nest_names(flat)
    changes: dict[str, Any] = {"base": merge_overrides(study.base, overrides), "name": name or study.name}
    if study.profile is not None:
        changes["profile"] = scale_profiles.override_profile(study.profile, overrides)
    if seeds is not None:
        changes["seeds"] = seeds_of(parse_seeds(seeds), "seeds")
        changes["arms"] = {arm: {k: v for k, v in own.items() if k != "seeds"} for arm, own in study.arms.items()}
    return check(dataclasses.replace(study, **changes))


def parse_seeds(text: str) -> Any:
    """ "5" is five seeds, "0,1,7" are these, and "5," is this one."""
    try:
        numbers = [int(x) for x in text.removesuffix(",").split(",")]
    except ValueError:
        raise ValueError(f"seeds: '{text}' is neither a count nor a list such as 0,1,7") from None
    return numbers if "," in text else numbers[0]
