#!/usr/bin/env python3
"""The pages of docs/ that are made from the code: one per algorithm, and the commands.

    python scripts/pages.py [--out docs]

algorithms/NAME.md   the text at the top of algos/NAME.py, its fields, its variants, what it was tested against
guides/commands.md   every command with its options, by `typer utils docs`
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import algos  # noqa: E402 - after the path
from harness.cli.lists.catalog import summary_of  # noqa: E402
from harness.cli.reference import table  # noqa: E402
from harness.config.field_docs import fields_of  # noqa: E402

MADE = "<!-- made by `python scripts/pages.py`; do not edit -->"
TESTED = {  # beside what holds for all of them: docs/algorithms.md
    "grpo": {
        "The paper's equations written out as loops, equation 21's coefficient, its relatives": "test_grpo.py",
        "Process supervision, by hand": "test_process.py",
        "Variants and dialects, against their papers and each other": "test_variants.py",
        "Baselines over groups: bias on a bandit": "test_unbiased.py",
    },
    "ppo": {
        "REINFORCE (V = 0), Dr. GRPO (V = the group's mean), GRPO's clip and KL": "test_ppo.py",
        "The double sum of GAE": "test_values.py",
    },
    "online_rft": {"GRPO with another coefficient, the loss by hand": "test_rft.py"},
    "rft": {"The loss by hand, what is kept of the samples": "test_rft.py"},
    "dpo": {"The loss by hand, which completions make a pair": "test_dpo.py"},
    "sft": {"The loss by hand": "test_dpo.py"},
}


def algorithm_page(name: str) -> str:
    cls = algos.load(name)
    module = sys.modules[cls.__module__]
    text = (module.__doc__ or "").strip()
    parts = [f"# {re.split(r' [(]|, ', text)[0].rstrip('.')}", MADE, text]
    parts += [f"Code: [algos/{name}.py](../../algos/{name}.py).  Beside the others: [algorithms](../algorithms.md)."]
    parts += [f"## Fields\n\n`--algo {name} --set algo.FIELD=VALUE`.\n\n{table(fields_of(cls))}".rstrip()]
    variants = [v for v in algos.variant_names() if algos.load(v).__mro__[1] is cls]
    if variants:
        rows = [f"| `{v}` | {summary_of(algos.load(v)).replace('|', chr(92) + '|')} |" for v in variants]
        head = "`--algo NAME`; what each changes and ascends: [the family](../guides/family.md)."
        parts += [f"## Variants\n\n{head}", "\n".join(["| name | |", "|---|---|", *rows])]
    tested = [f"- {what} ([{file}](../../tests/algos/{file}))." for what, file in TESTED[name].items()]
    return "\n\n".join([*parts, "## Tested against\n\n" + "\n".join(tested)]) + "\n"


def commands_page() -> str:
    words = [sys.executable, "-m", "typer", "harness.cli.main", "utils", "docs", "--name", "harness"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    text = re.sub(r"^# `harness`", f"# Commands\n\n{MADE}", done.stdout, count=1)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def pages() -> dict[str, str]:
    """Path below docs/ -> text."""
    made = {f"algorithms/{name}.md": algorithm_page(name) for name in TESTED}
    return made | {"guides/commands.md": commands_page()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    out = parser.parse_args().out
    for path, text in pages().items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")
