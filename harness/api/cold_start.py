"""`harness pretrain MODEL` for a model whose recipe is a run: SFT on written solutions, from another model.

The recipe's table `run` holds fields of a run.  OUT is the run's folder: its record, the checkpoints from which it goes
on where it was interrupted, and in checkpoints/final what came of it.  OUT/recipe.json sums up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.overrides import Fields, flatten_names
from harness.config.start_models import recipe_of, recipe_runs

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.records.schema import Record


def config_of(
    name: str,
    out: Path | None = None,
    gsm8k: str | None = None,
    eval_files: Mapping[str, str] | None = None,
    updates: int | None = None,
    device: str | None = None,
    settings: list[str] | None = None,
) -> RunConfig:
    """The run that makes the model, in `out` (default: the model's name); one that is there is gone on with.

    `updates`: no more than so many, a trial.  Raises ValueError, one line, on anything the user got wrong.
    """
    from harness.config.run_config import resolve

    if name not in recipe_runs():
        raise ValueError(f"pretrain: the recipe of {name} is no run; valid: {', '.join(recipe_runs())}")
    folder, fields = out or Path(name), flatten_names(recipe_of(name)["run"])
    data = {"gsm8k": gsm8k, "eval_files": dict(eval_files or {})}
    flags: Fields = {"task": {key: value for key, value in data.items() if value} or None, "device": device}
    flags |= {"name": folder.name, "out": str(folder.parent)}
    flags |= {"resume": True if (folder / "record.json").is_file() else None}
    flags |= {"budget": f"updates={updates}" if updates is not None else None}
    return resolve(flags, settings or [], None, under=fields)


def sum_up(name: str, folder: Path, record: Record) -> Path:
    """Write OUT/recipe.json: the recipe, the start model, what was spent, the hash of what came out, its scores."""
    from harness.records.checksums import file_sha256
    from harness.records.io import write_json

    final, environment = folder / "checkpoints" / "final", record["environment"]
    said = {
        "recipe": recipe_of(name),
        "config_sha256": record["config_sha256"],
        "start": environment["model"],
        "inputs": environment.get("inputs", {}),
        "spend": record["spend"],
        "weights_sha256": {file.name: file_sha256(file) for file in sorted(final.glob("*.safetensors"))},
        "evals": [row for row in record["evals"] if row["filter"] == "strict"],
        "environment": {key: environment.get(key) for key in ("python", "packages", "device", "threads", "cpu")},
    }
    write_json(folder / "recipe.json", said)
    return final
