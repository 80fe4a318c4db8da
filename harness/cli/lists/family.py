"""`harness list --family` and `--presets`: the family as choices and as rows, the frameworks' dialects; from the code.

With `--markdown` they are the pages docs/guides/family.md and docs/guides/dialects.md.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from harness.cli.lists.catalog import DATA

MEMBERS = ("name", "baseline", "normalize", "ratio", "clip", "KL", "average", "filter", "transform", "source")
HEAD = """# {title}

<!-- made by `harness list --{flag} --markdown > docs/guides/{page}.md`; do not edit -->

{text}
"""
FAMILY_TEXT = """GRPO is a choice on each of a few axes, and most published variants are another choice.  Each has a
name (`--algo dapo`);
each choice is a field (`--set algo.normalize=none`).  A row says what a name stands for; below it are the choices,
and the equation and source of every row."""
DIALECTS_TEXT = """Frameworks mean different objectives by "GRPO".  `--preset trl` gives what TRL computes by default:
advantage,
averaging, clip and KL.  The optimiser, the sampler and the number of updates stay the harness's own, so that runs
differ in the objective alone.  `--algo grpo --preset trl` is the algorithm `grpo_trl`, in records and study files."""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, in Markdown, as wide as they must be."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]  # absolute values are no columns
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join("-" * w for w in wide), *lines[1:]))


def _member(name: str) -> tuple[str, ...]:
    import algos

    algo: Any = algos.load(name)()
    row = algos.preset_of(name)
    kl = f"{algo.kl_placement} {algo.kl_coef:g}" if algo.kl_coef else "off"
    kl += f" {algo.kl_estimator}" if algo.kl_coef and algo.kl_placement == "loss" else ""
    left_out = [x for x in (algo.filter_groups, algo.select_completions) if x not in ("none", "all")]
    dropped = ", ".join([*left_out, *([f"draws {algo.draws}"] if algo.draws > 1 else [])]) or "none"
    scale = algo.normalize + (f", whiten {algo.whiten}" if algo.whiten != "none" else "")
    source = (row.source if row else "2402.03300").partition(";")[0]
    transform = row.transform if row else "2 arcsin sqrt p"
    clip = algo.clip if algo.clip in ("none", "soft") else f"{algo.clip} {algo.clip_low:g}/{algo.clip_high:g}"
    return (name, algo.baseline, scale, algo.ratio, clip, kl, algo.loss_aggregation, dropped, transform or "-", source)


def members() -> str:
    """One row per member: what its name stands for."""
    import algos

    return table([MEMBERS, _member("grpo"), *(_member(name) for name in algos.variant_names())])


def axes() -> list[tuple[str, str]]:
    """The choices on each axis, from the types of GRPO's fields and the catalogue of baselines and keys."""
    from algos.grpo import GRPO

    hints = typing.get_type_hints(GRPO)
    names = ("normalize", "whiten", "ratio", "clip", "kl_placement", "kl_estimator", "loss_aggregation")
    found = [(f"`{name}`", ", ".join(typing.get_args(hints[name]))) for name in names]
    rest = [(f"`{name}`", ", ".join(typing.get_args(hints[name]))) for name in ("filter_groups", "select_completions")]
    return [*found, *rest, ("source", ", ".join(f"{name} ({what})" for name, what in DATA.items()))]


def choices(kind: str) -> str:
    """Baselines or grouping keys: formula, options, whether they leave the gradient's expectation alone, source."""
    from algos.grouping import catalog

    known: Any = catalog.BASELINES if kind == "baseline" else catalog.KEYS
    flag = "unbiased" if kind == "baseline" else "safe"
    rows = [(kind, "formula", "options", flag, "source")]
    for name, cls in known.items():
        options = ", ".join(f"{f.name}={f.default}" for f in dataclasses.fields(cls)) or "-"
        rows.append((name, cls.formula or "-", options, "yes" if getattr(cls, flag) else "no", cls.source))
    return table(rows)


def family() -> str:
    """The whole of `harness list --family`."""
    parts = ["members (--algo NAME)", members(), "", "choices (--set algo.FIELD=...)"]
    parts += [table([("axis", "choices"), *axes()]), ""]
    parts += ["algo.baseline, or FILE.py:function", choices("baseline"), ""]
    parts += ["algo.group_by, or FILE.py:function", choices("group_by")]
    return "\n".join(parts)


def presets() -> str:
    """The frameworks' dialects side by side."""
    import algos

    rows = [("--algo", "--preset", "computes", "source")]
    for name in algos.dialect_names():
        algo, _, preset = name.partition("_")
        row = algos.preset_of(name)
        assert row is not None
        rows.append((algo, preset, row.equation, row.source.partition(",")[0]))
    return table(rows)


def family_page() -> str:
    import algos

    parts = [HEAD.format(title="The family", flag="family", page="family", text=FAMILY_TEXT), members(), TRANSFORM]
    parts += ["## Choices\n", table([("axis", "choices"), *axes()]), "\n### Baselines\n", BASELINES]
    parts += [choices("baseline"), "\n### Grouping keys\n", KEYS, choices("group_by"), "\n## Rows\n"]
    for name in algos.variant_names():
        row = algos.preset_of(name)
        assert row is not None
        parts += [f"### {name}\n\n{row.title}  Source: {row.source}.\n"]
        parts += ["    " + row.equation.replace("\n", "\n    ") + "\n"] * bool(row.equation)
        parts += [row.text + "\n"] * bool(row.text) + [_changes(row)]
    return "\n".join(parts).rstrip("\n")


def _changes(row: Any) -> str:
    if not row.base:
        return f"Code: [algos/variants/{row.name}.py](../../algos/variants/{row.name}.py).\n"
    told = "; ".join(f"`{field}={str(value).lower()}` ({why})" for field, (value, why) in row.fields.items())
    return f"`{row.base}` with {told}.\n" if told else f"`{row.base}` as it is.\n"


def dialects_page() -> str:
    import algos

    measured = _measured()
    parts = [HEAD.format(title="What GRPO means, by framework", flag="presets", page="dialects", text=DIALECTS_TEXT)]
    head = (
        "preset",
        "baseline",
        "divided by",
        "clip",
        "KL",
        "average",
        "loss fp64",
        "gradient fp64",
        "fp32",
        "held against",
    )
    rows = [head]
    for name in algos.dialect_names():
        row = _member(name)
        algo: Any = algos.load(name)()
        scale = row[2] + (f", ddof {algo.std_ddof}" if algo.normalize != "none" else "")
        scale += f", + {algo.std_eps:g}" if algo.std_eps else ""
        found = measured.get(name, {})
        numbers = [found.get("float64", {}).get(x) for x in ("loss", "gradient")]
        both = [found.get("float32", {}).get(x) for x in ("loss", "gradient")]
        cells = [_number(x) for x in numbers] + [_number(max(both) if None not in both else None)]
        against = found.get("against", "transcription")
        dual = f", dual {algo.clip_dual:g}" if algo.clip_dual else ""
        rows.append((name.partition("_")[2], row[1], scale, row[4] + dual, row[5], row[6], *cells, against))
    parts += [table(rows), MEASURED, "## Row by row\n"]
    for name in algos.dialect_names():
        preset = algos.preset_of(name)
        assert preset is not None
        parts += [f"### {name.partition('_')[2]}\n\n{preset.title}\n\n    {preset.equation}\n"]
        parts += [preset.text + "\n"] * bool(preset.text)
        parts += [_changes(preset), f"Source: {preset.source}.  Proof: {preset.proof}.\n"]
    return "\n".join(parts).rstrip("\n")


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.1e}"


def _measured() -> dict[str, Any]:
    """What the tests measured, as the package holds it."""
    file = files("algos.variants").joinpath("dialects.json")
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


TRANSFORM = """
*transform*: F, where the method ascends E F(p) for a reward of 0 or 1 that a prompt gets with probability p, in the
limit of large groups, with one update per round and completions of one length (2510.13651): derived, and checked by
enumeration in [test_transforms.py](../../tests/algos/test_transforms.py).
"""
BASELINES = """`algo.baseline=NAME`, `NAME(option=value)`, or FILE.py:function, which gives a number per completion of
the round's
`Rollouts`.  *unbiased*: independent of the completion that it is compared with, so that the gradient's expectation
stays as it is; [test_unbiased.py](../../tests/algos/test_unbiased.py) enumerates a bandit to check it.
"""
KEYS = """`algo.group_by=NAME`: the group that `baseline` and `normalize` are over.  *safe*: known before the
completion is.  The
others are refused unless `algo.group_blend` is below 1, which keeps that share of the prompt's own group.
"""
MEASURED = """
The largest differences of loss and gradient between our preset and what it is held against, relative to the largest
term, over random rounds on the sampler and away from it.
"""
