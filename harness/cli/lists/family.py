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
FAMILY_TEXT = """GRPO is a choice on each of a few axes, and most published variants are another choice.
Each has a name (`--algo dapo`); each choice is a field (`--set algo.normalize=none`).  A row says what a name stands
for; below it are the choices, and the equation and source of every row."""
DIALECTS_TEXT = """Frameworks mean different objectives by "GRPO", and by "PPO".  `--preset trl` gives what TRL computes
by default: advantage, averaging, clip and KL; `--algo ppo --preset verl` the value loss besides.  The optimiser, the
sampler and the number of updates stay the harness's own, so that runs differ in the objective alone.
`--algo grpo --preset trl` is the algorithm `grpo_trl`, in records and study files.  Of PPO there are those that have
been read: TRL 1.16 has none any more."""


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
    left_out = [x for x in (algo.filter_groups, algo.select_completions) if x not in ("none", "all")]
    dropped = ", ".join([*left_out, *([f"draws {algo.draws}"] if algo.draws > 1 else [])]) or "none"
    scale = algo.normalize + (f", whiten {algo.whiten}" if algo.whiten != "none" else "")
    source = (row.source if row else "2402.03300").partition(";")[0]
    transform = row.transform if row else "2 arcsin sqrt p"
    clip = algo.clip if algo.clip in ("none", "soft") else f"{algo.clip} {algo.clip_low:g}/{algo.clip_high:g}"
    return (
        name,
        algo.baseline,
        scale,
        algo.ratio,
        clip,
        _kl(algo),
        algo.loss_aggregation,
        dropped,
        transform or "-",
        source,
    )


def _kl(algo: Any) -> str:
    if not algo.kl_coef:
        return "off"
    return f"{algo.kl_placement} {algo.kl_coef:g}" + f" {algo.kl_estimator}" * (algo.kl_placement == "loss")


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


HELD = ("loss fp64", "gradient fp64", "fp32", "held against")


def dialects_page() -> str:
    import algos

    parts = [HEAD.format(title="What GRPO and PPO mean, by framework", flag="presets", page="dialects",
                         text=DIALECTS_TEXT)]  # fmt: skip
    parts += [table([("preset", "baseline", "divided by", "clip", "KL", "average", *HELD), *_dialects_of_grpo()])]
    head = ("PPO", "lambda", "whitened", "value loss", "clip", "KL", "average", *HELD)
    parts += ["", table([head, *_dialects_of_ppo()]), MEASURED, DIFFERENCES, "## Row by row\n"]
    for name in algos.dialect_names():
        preset = algos.preset_of(name)
        assert preset is not None
        of_ppo = " (PPO)" * name.startswith("ppo_")
        parts += [f"### {name.partition('_')[2]}{of_ppo}\n\n{preset.title}\n\n    {preset.equation}\n"]
        parts += [preset.text + "\n"] * bool(preset.text)
        parts += [_changes(preset), f"Source: {preset.source}.  Proof: {preset.proof}.\n"]
    return "\n".join(parts).rstrip("\n")


def _named(base: str) -> list[str]:
    import algos

    return [name for name in algos.dialect_names() if name.startswith(f"{base}_")]


def _held(name: str) -> list[str]:
    """What a dialect was held against, and by how much it differs."""
    found = _measured().get(name, {})
    numbers = [found.get("float64", {}).get(x) for x in ("loss", "gradient")]
    both = [found.get("float32", {}).get(x) for x in ("loss", "gradient")]
    cells = [_number(x) for x in numbers] + [_number(max(both) if None not in both else None)]
    return [*cells, found.get("against", "transcription")]


def _dialects_of_grpo() -> list[tuple[str, ...]]:
    import algos

    rows = []
    for name in _named("grpo"):
        row, algo = _member(name), algos.load(name)()
        own: Any = algo
        scale = row[2] + (f", ddof {own.std_ddof}" if own.normalize != "none" else "")
        scale += f", + {own.std_eps:g}" if own.std_eps else ""
        dual = f", dual {own.clip_dual:g}" if own.clip_dual else ""
        rows.append((name.partition("_")[2], row[1], scale, row[4] + dual, row[5], row[6], *_held(name)))
    return rows


def _dialects_of_ppo() -> list[tuple[str, ...]]:
    import algos

    rows = []
    for name in _named("ppo"):
        algo: Any = algos.load(name)()
        whitened = f"ddof {algo.whiten_ddof}" if algo.whiten else "no"
        whitened += f", variance + {algo.whiten_variance_eps:g}" if algo.whiten and algo.whiten_variance_eps else ""
        value = f"clip {algo.value_clip:g}" if algo.value_clip else "no clip"
        clip = f"surrogate {algo.clip_low:g}/{algo.clip_high:g}" + f", dual {algo.clip_dual or 0:g}" * bool(
            algo.clip_dual
        )
        lam = f"{algo.gae_lambda:g}"
        cells = (lam, whitened, value, clip, _kl(algo), algo.loss_aggregation)
        rows.append((name.partition("_")[2], *cells, *_held(name)))
    return rows


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.1e}"


def _measured() -> dict[str, Any]:
    """What the tests measured, as the package holds it."""
    file = files("algos.variants").joinpath("dialects.json")
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


DIFFERENCES = """
What the differences are:

- **ddof.**  A sample's deviation (ddof 1: torch's) is sqrt(G/(G-1)) times the population's: advantages are smaller by
  3 % in groups of 16, by 13 % in groups of 4, for all prompts alike.
- **eps.**  It is added to the deviation so that nothing is divided by 0.  Beside a deviation of 0.5 it takes 0.02 % at
  1e-4, and 0.0002 % at 1e-6.  A group without a difference has advantage 0 in all of them.
- **Leave-one-out** compares with the mean of the others, which is G/(G-1) times the advantage by the group's mean;
  NeMo-RL divides it by the deviation of the others, which differs from completion to completion.
- **Undivided** advantages (prime-rl, Tinker, open-instruct) weigh a prompt by how mixed its group is; divided ones give
  hard and easy prompts the weight of those in the middle.
- **Denominators.**  *sequence* gives every completion the same weight, so that a token of a long one weighs less;
  *token* every token of the update; *total* divides by nothing, which Adam takes back and a clipped norm does not.
- **KL.**  In the loss by k3 (its gradient is that of the estimate); as pi/sg(pi) times k3 (that of sampling besides);
  in the returns, where each token answers for what follows it.
- **Clip.**  With one update per round rho is 1 and no clip acts; with several, `surrogate` stops a token's gradient at
  its bound, *dual* bounds what a token with A < 0 may cost, `tv` bounds how far its probability went.
"""
TRANSFORM = """
*transform*: F, where the method ascends E F(p) for a reward of 0 or 1 that a prompt gets with probability p, in the
limit of large groups, with one update per round and completions of one length (2510.13651): derived, and checked by
enumeration in [test_transforms.py](../../tests/algos/test_transforms.py).
"""
BASELINES = """`algo.baseline=NAME`, `NAME(option=value)`, or FILE.py:function, which gives a number per completion of
the round's `Rollouts`.  *unbiased*: independent of the completion that it is compared with, so that the gradient's
expectation stays as it is; [test_unbiased.py](../../tests/algos/test_unbiased.py) enumerates a bandit to check it.
"""
KEYS = """`algo.group_by=NAME`: the group that `baseline` and `normalize` are over.  *safe*: known before the
completion is.  The others are refused unless `algo.group_blend` is below 1: the weight of their advantage beside the
prompt's own.
"""
MEASURED = """
The largest differences of loss and gradient between our preset and what it is held against, relative to the largest
term, over random rounds on the sampler and away from it.
"""
