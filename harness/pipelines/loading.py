"""A pipeline by name or FILE.toml, and what a command line changes in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config.coercion import build
from harness.config.files.tables import load_table
from harness.config.overrides import NAMED, TABLES, Fields, merge_overrides, nest_names, parse_setting, set_field
from harness.pipelines.schema import Pipeline, Stage, check, place_of
from harness.studies.ad_hoc import parse_seeds
from harness.studies.study import seeds_of

LIBRARY = Path(__file__).parent / "library"
OWN = ("name", "kind", "share", "updates")  # of a stage itself; the rest are fields of its run


def names() -> list[str]:
    """The pipelines that ship."""
    return sorted(path.stem for path in LIBRARY.glob("*.toml"))


def load(name: str) -> Pipeline:
    """A pipeline by name, or a FILE.toml.  Raises ValueError naming the file, the stage and the field."""
    file = Path(name)
    if not name.endswith(".toml"):
        if name not in names():
            raise ValueError(f"pipeline: unknown pipeline '{name}'; valid: {', '.join(names())}, or a FILE.toml")
        file = LIBRARY / f"{name}.toml"
    try:
        return parse(file.stem, load_table(file), file.parent)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(file) in message else f"{file}: {message}") from error


def parse(name: str, table: Fields, folder: Path | None = None) -> Pipeline:
    """A checked pipeline from a TOML table.  A file of data in it is relative to `folder`."""
    table = {"name": name, "seeds": 1, **table}
    stages, controls = table.pop("stages", []), table.pop("controls", {})
    if not isinstance(stages, list) or not all(isinstance(s, dict) for s in stages):
        raise ValueError("stages: must be tables, each under [[stages]]")
    if not isinstance(controls, dict) or not all(isinstance(c, dict) for c in controls.values()):
        raise ValueError("controls: must be tables, each under [controls.NAME]")
    table["seeds"] = seeds_of(table["seeds"], "seeds")
    made = [_stage(own, f"stages.{i}.", folder) for i, own in enumerate(stages)]
    beside = [_stage({**own, "name": control}, f"controls.{control}.", folder) for control, own in controls.items()]
    if folder is not None and isinstance(table.get("architecture"), str):
        table["architecture"] = str(folder / table["architecture"])
    pipeline = build(Pipeline, {**table, "stages": [], "controls": []}, "")
    return check(dataclasses.replace(pipeline, stages=made, controls=beside))


def _stage(own: Fields, place: str, folder: Path | None) -> Stage:
    table = {name: own[name] for name in OWN if name in own}
    fields = merge_overrides({name: value for name, value in own.items() if name not in OWN})
    data = fields.get("data")
    if isinstance(data, str) and not data.startswith("stage:") and folder is not None:
        path = (folder / data).resolve()
        fields["data"] = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return build(Stage, {**table, "fields": fields}, place)


def override(
    pipeline: Pipeline, seeds: str | None, settings: Sequence[str], budget: str | None, name: str | None
) -> Pipeline:
    """The pipeline with other seeds, another budget or name, and `field=value` for all stages or STAGE.field=value for
    one: `collect.share=0.2`, `refit.lr=1e-4`.  Raises ValueError."""
    base: Fields = {}
    own: dict[str, Fields] = {}
    known = [stage.name for stage in pipeline.all]
    for word in settings:
        field, value = parse_setting(word)
        stage, dot, inner = field.partition(".")
        if dot and stage in known:
            set_field(own.setdefault(stage, {}), inner, value)
        elif dot and stage not in (*NAMED, *TABLES):
            raise ValueError(f"--set: '{field}' is neither a field nor one of a stage; stages: {', '.join(known)}")
        else:
            set_field(base, field, value)

    def changed(stage: Stage) -> Stage:
        more = dict(own.get(stage.name, {}))
        table = {name: more.pop(name, getattr(stage, name)) for name in OWN}
        fields = merge_overrides(stage.fields, nest_names(more))
        return build(Stage, {**table, "fields": fields}, place_of(pipeline, stage))

    changes: dict[str, Any] = {"base": merge_overrides(pipeline.base, nest_names(base)), "name": name or pipeline.name}
    changes |= {"budget": pipeline.budget if budget is None else budget}
    if seeds is not None:
        changes["seeds"] = seeds_of(parse_seeds(seeds), "seeds")
    stages, controls = [*map(changed, pipeline.stages)], [*map(changed, pipeline.controls)]
    return check(dataclasses.replace(pipeline, **changes, stages=stages, controls=controls))
