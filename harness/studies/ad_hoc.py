"""Studies that are asked for on the command line: `compare`'s flags, and what `ablate` changes in a study file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from harness.config.overrides import Fields, _named, _setting, check_groups, over, put
from harness.config.start_models import load_toml
from harness.studies import scale_profiles
from harness.studies.study import Study, check, parse, seeds_of

FRACTIONS = [0, 0.25, 0.5, 0.75, 1]  # of the budget: points enough to see a crossing


def compared(
    algos: str, seeds: str, flags: dict[str, Any], settings: list[str], config: str | None, name: str | None
) -> Study:
    """The study that `harness compare` is: one arm an algorithm, each with its own defaults.

    `settings` are `field=value` for all arms, or `ARM.field=value` for one arm's algorithm.
    """
    words = [word.strip() for word in algos.split(",") if word.strip()]
    arms: dict[str, Fields] = {Path(word).stem: {"algo": {"name": word}} for word in words}
    if len(arms) < len(words):
        raise ValueError(f"algos: '{algos}' names an algorithm twice; its arms would be one")
    base: Fields = {"eval_fractions": FRACTIONS, **(load_toml(Path(config)) if config else {})}
    check_groups(base)
    base.pop("algo_name", None)  # a configuration may name an algorithm; the arms are named here
    if "algo" in base:
        base["algo"] = {k: v for k, v in over(base)["algo"].items() if k != "name"}
    asked = {k: v for k, v in flags.items() if v is not None}
    for word in settings:
        field, value = _setting(word)
        group, dot, inner = field.partition(".")
        if dot and group in arms:
            arms[group]["algo"][inner] = value
        else:
            put(asked, field, value)
    table = {"arms": arms, "seeds": _seeds(seeds), "base": over(base, _named(asked))}
    return parse(name or f"compare-{'-'.join(arms)}", table)


def varied(study: Study, seeds: str | None, settings: list[str], name: str | None, profile: str | None = None) -> Study:
    """A study at another scale, with other seeds or other base fields than its file says."""
    if profile is not None:
        study = scale_profiles.laid(study, scale_profiles.load(profile))
    asked: Fields = {}
    for word in settings:
        put(asked, *_setting(word))
    asked = _named(asked)
    changed: dict[str, Any] = {"base": over(study.base, asked), "name": name or study.name}
    if study.profile is not None:
        changed["profile"] = scale_profiles.asked_over(study.profile, asked)
    if seeds is not None:
        changed["seeds"] = seeds_of(_seeds(seeds), "seeds")
        changed["arms"] = {arm: {k: v for k, v in of.items() if k != "seeds"} for arm, of in study.arms.items()}
    return check(dataclasses.replace(study, **changed))


def _seeds(text: str) -> Any:
    """ "5" is five seeds, "0,1,7" are these."""
    try:
        numbers = [int(x) for x in text.split(",")]
    except ValueError:
        raise ValueError(f"seeds: '{text}' is neither a count nor a list such as 0,1,7") from None
    return numbers if "," in text else numbers[0]
