"""A model whose recipe is a run: made, interrupted, gone on with, and used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.api.cold_start import config_of
from harness.config.start_models import recipe_runs
from harness.models.pretraining.trainer import build_model, build_tokenizer, save
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401

SMALL = [
    "task.train_size=24",
    "task.test_size=4",
    "task.other_size=2",
    "eval_limit=1",
    "eval_samples=2",
    "prompts=2",
    "max_new_tokens=60",
]


SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The recipe at tiny sizes, from a tiny model."""
    taught = tmp_path / "start"
    tokenizer = build_tokenizer(iter(["3 + 4 = 7"]), 300, ["#### "])
    shape = {**SHAPE, "num_key_value_heads": 2, "max_position_embeddings": 1024}
    save(build_model(shape, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, 0), tokenizer, taught)
    row = {"question": "What is 3 + 4?", "answer": "3+4=<<3+4=7>>7\n#### 7"}
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(row) + "\n")
    settings = [f"model={taught}", *SMALL, "task.steps_drawn=1", "device=cpu"]
    given = ["--gsm8k", str(tmp_path / "gsm8k.jsonl"), "--out", str(tmp_path / "math"), "--quiet"]
    return ["pretrain", "smollm2-math", *given, *(w for s in settings for w in ("--set", s))]


def test_the_recipe_is_a_run(words: list[str], tmp_path: Path, call: Call) -> None:  # noqa: F811
    code, said, error = call(*words, "--updates", "2")
    assert code == 0, error
    folder = tmp_path / "math"
    assert said.strip().endswith(f"written to {folder / 'checkpoints' / 'final'}")
    summed, record = (json.loads((folder / name).read_text()) for name in ("recipe.json", "record.json"))
    assert record["algo"] == "sft" and summed["spend"]["updates"] == 2 and summed["weights_sha256"]
    assert summed["start"]["name"].endswith("start") and summed["config_sha256"] == record["config_sha256"]
    assert {row["metric"] for row in summed["evals"]} >= {"exact_match"}
    again = call(*words, "--updates", "2")
    assert again[0] == 0 and "is finished" in again[1]  # nothing is made twice


def test_its_settings_are_those_of_a_run() -> None:
    assert recipe_runs() == ["smollm2-math"]
    config = config_of("smollm2-math", Path("x/y"), "train.jsonl", {"svamp": "s.jsonl"}, None, "cpu", ["lr=1e-3"])
    assert (config.model, config.algo_name, config.task_name) == ("smollm2-135m", "sft", "cold_start")
    assert config.task == {"gsm8k": "train.jsonl", "eval_files": {"svamp": "s.jsonl"}} and config.lr == 1e-3
    assert (config.out, config.name, config.resume) == ("x", "y", False)
    assert config.budget.startswith("trained_tokens=")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pretrain", "nano", "--gsm8k", "x"], "pretrain: --gsm8k, --eval-file and --set are for smollm2-math"),
        (
            ["pretrain", "smollm2-135m"],
            "pretrain: smollm2-135m is no embedded model; valid: lookup, micro, nano, smollm2-math",
        ),
        (
            ["run", "--model", "smollm2-math"],
            "model: smollm2-math has no weights here: `harness pretrain smollm2-math`",
        ),
    ],
)
def test_what_it_is_not_for_is_one_line(
    words: list[str],
    told: str,
    call: Call,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = call(*words)
    assert code == 2 and told in one_line(error) and not any(tmp_path.iterdir())
