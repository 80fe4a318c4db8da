"""Records as pandas tables.

`runs`, a row per run:

| column | what it is |
|---|---|
| arm, seed | of the study |
| algo, task, model | their names |
| status | finished, interrupted, failed, running |
| unit, budget | what the budget is counted in, and its limit |
| prompts, completions, generated_tokens, trained_tokens, updates, flops, device_seconds | spent, in every unit |
| seconds | of all phases, evaluation included |
| peak_bytes | largest memory; NaN where it was not recorded |
| start, end | strict accuracy, 0 to 1, on the study's endpoint before training and at the end; NaN where not measured |
| folder | of the record |

`curves`, a row per number of an evaluation (`evals` of one run has the same from `fraction` on):

| column | what it is |
|---|---|
| arm, seed | of the study |
| fraction | of the budget: 0 is before training, 1 the end |
| task, domain | the evaluation set; in, out (of domain) or retention |
| decoding, temperature | greedy or sampled |
| filter, metric | strict or lenient reading; exact_match, pass@K, ... |
| value, stderr, n | the number, its standard error (NaN where there is none) and the problems behind it |
| prompts ... device_seconds | spent up to this point, in every unit |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.accounting.budget import UNITS
from harness.records.runs import read_rounds
from harness.records.schema import Record

if TYPE_CHECKING:
    import pandas as pd

    from harness.reports.loading import Results

Row = dict[str, Any]
OF_A_POINT = ("fraction", "task", "domain", "decoding", "temperature", "filter", "metric", "value", "stderr", "n")


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def run_rows(results: Results) -> list[Row]:
    """The rows of `runs`."""
    key = (results.endpoint, "strict", "exact_match")
    rows = []
    for run in results:
        record, values = run.record, run.values()
        rows.append(
            {
                "arm": run.arm,
                "seed": run.seed,
                "algo": record["algo"],
                "task": record["config"].get("task_name"),
                "model": record["config"]["model"],
                "status": record["status"],
                "unit": record["budget"]["unit"],
                "budget": record["budget"]["limit"],
                **spent(record["spend"]),
                "seconds": sum(phase["seconds"] for phase in record.get("phases", {}).values()),
                "peak_bytes": record.get("memory", {}).get("peak_bytes", float("nan")),
                "start": values.get((0.0, key), float("nan")),
                "end": values.get((1.0, key), float("nan")),
                "folder": str(run.folder),
            }
        )
    return rows


def curve_rows(record: Record) -> list[Row]:
    """The rows of one run's curves."""
    return [{**{name: row.get(name) for name in OF_A_POINT}, **spent(row["spend"])} for row in record["evals"]]


def spent(spend: Mapping[str, float]) -> Row:
    return {unit: spend.get(unit, float("nan")) for unit in UNITS}


def metrics_of(folder: Path) -> pd.DataFrame:
    """The metrics of every round as a table; empty where no round has ended.  Raises ValueError naming the file."""
    return frame(read_rounds(folder) or [])
