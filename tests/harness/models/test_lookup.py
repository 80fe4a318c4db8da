"""The model lookup: what ships, and that it knows how to search and not when."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from harness.config.run_config import resolve
from harness.config.start_models import MODELS
from harness.training.evaluation import evaluate_checkpoint

LOOKUP = MODELS / "lookup"


def test_what_ships() -> None:
    """Half a megabyte, made by the recipe beside it."""
    said = json.loads((LOOKUP / "recipe.json").read_text())
    weights = (LOOKUP / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == said["weights_sha256"] and len(weights) < 500_000
    assert sum(file.stat().st_size for file in LOOKUP.iterdir()) < 600_000
    from harness.models.pretraining.recipes import recipe_of

    assert said["recipe"] == recipe_of("lookup")


def test_it_knows_how_and_not_when() -> None:
    """Greedily it guesses; sampled, it searches as rarely where a search is needed as where it is not."""
    pytest.importorskip("bm25s")
    config = resolve({"model": "lookup", "task_name": "lookup", "eval_limit": 60, "device": "cpu"}, [], None)
    scores = evaluate_checkpoint(config, "ours")
    found = {(r["task"], r["metric"]): r["value"] for r in scores.rows if r["filter"] == "strict"}
    assert found["lookup_two", "exact_match"] < 0.2 and found["lookup_one", "exact_match"] < 0.35
    assert found["lookup_none", "exact_match"] > 0.8 and found["lookup_none", "needless"] < 0.1
    assert 0.1 < found["lookup_t1", "calls"] < 1.0 and found["lookup_t1", "exact_match"] < 0.6
    assert Path(scores.model).name == "lookup"
