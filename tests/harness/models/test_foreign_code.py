"""A model, its tokenizer and a reward model are data: nothing that comes with them is run."""

from __future__ import annotations

import ast
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.foreign_code import check_vocabulary
from harness.models.loading import load_model
from harness.planner.architecture import _from_hub
from harness.rewards import reward_model
from tests.harness.tiny_models import build, letters
from tests.helpers import ROOT

LOADERS = ("from_pretrained", "from_config", "Hf")  # what transformers and lm-eval load by
SOURCES = sorted(path for room in ("algos", "evals", "harness", "scripts") for path in (ROOT / room).rglob("*.py"))


DATA = ("GenerationConfig.from_pretrained", "PeftModel.from_pretrained")  # one JSON file; tensors for a model in hand


def named(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def unguarded(source: str) -> list[int]:
    """Lines of calls that load by name and do not say trust_remote_code=False, but those of plain data."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in DATA and named(node) in LOADERS:
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            lines += [node.lineno] if words.get("trust_remote_code") != "False" else []
    return lines


def test_whatever_is_loaded_is_loaded_without_its_code() -> None:
    found = {str(path.relative_to(ROOT)): unguarded(path.read_text()) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    ["AutoConfig.from_pretrained(x)", "M.from_config(c, trust_remote_code=True)", "Hf(x, trust_remote_code=ask)"],
)
def test_loading_with_code_is_seen(source: str) -> None:
    assert unguarded(source) == [1]
    assert unguarded("AutoConfig.from_pretrained(x, trust_remote_code=False)") == []


# --- folders that bring code ---------------------------------------------------------------------------------

CODE = "from pathlib import Path\nPath({mark!r}).write_text('ran')\nclass C: pass\n"
Edit = Callable[[dict[str, Any]], None]


def _of_its_own(config: dict[str, Any]) -> None:
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    config.update(model_type="evil", architectures=["C"], auto_map=dict.fromkeys(names, "evil.C"))


def _tokenizer_of_its_own(config: dict[str, Any]) -> None:
    config.update(tokenizer_class="C", auto_map={"AutoTokenizer": ["evil.C", "evil.C"]})


def _kernel(config: dict[str, Any]) -> None:
    config.update(attn_implementation="someone/kernel")


FOREIGN: dict[str, tuple[str, Edit, str]] = {
    "the model's class": ("config.json", _of_its_own, "code of its own"),
    "the tokenizer's class": ("tokenizer_config.json", _tokenizer_of_its_own, "code of its own"),
    "an attention kernel of the hub": ("config.json", _kernel, "someone/kernel"),
}


def foreign(folder: Path, case: str) -> Path:
    name, edit, _ = FOREIGN[case]
    shutil.copytree(ROOT / "harness" / "models" / "embedded" / "nano", folder)
    (folder / "evil.py").write_text(CODE.format(mark=str(folder.parent / "ran")))
    table = json.loads((folder / name).read_text())
    edit(table)
    (folder / name).write_text(json.dumps(table))
    return folder


@pytest.fixture
def agreeing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks on the terminal hears yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))


@pytest.mark.parametrize("loader", ["policy", "reward model"])
@pytest.mark.parametrize("case", FOREIGN)
def test_a_folders_code_is_refused_in_one_line(case: str, loader: str, tmp_path: Path, agreeing: None) -> None:
    folder, expected = foreign(tmp_path / "model", case), FOREIGN[case][2]
    with pytest.raises(ValueError, match=f"cannot load '{folder}'.*{expected}") as error:
        if loader == "policy":
            load_model(str(folder))
        else:
            reward_model.load(str(folder), letters())
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


def test_a_plan_runs_no_code(tmp_path: Path, agreeing: None) -> None:
    with pytest.raises(ValueError, match="code of its own"):
        _from_hub(str(foreign(tmp_path / "model", "the model's class")))
    assert not (tmp_path / "ran").exists()


def test_code_beside_a_known_architecture_is_ignored(tmp_path: Path, agreeing: None) -> None:
    """Many models of the hub have an auto_map for older versions of transformers: its own class is taken."""
    folder = tmp_path / "model"
    foreign(folder, "the model's class")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    model, _, _ = load_model(str(folder))
    assert type(model).__name__ == "LlamaForCausalLM" and not (tmp_path / "ran").exists()
    assert type(reward_model.from_policy(model)).__name__ == "LlamaForSequenceClassification"


class Runs:
    """Unpickled, it touches a file."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.mark),)


@pytest.mark.parametrize("loader", ["policy", "reward model"])
def test_pickled_weights_run_nothing(loader: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "harness" / "models" / "embedded" / "nano", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Runs(str(tmp_path / "ran"))}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"cannot load '{folder}'"):
        if loader == "policy":
            load_model(str(folder))
        else:
            reward_model.load(str(folder), letters())
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").exists(), "it would have run"


# --- tokens without a row ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "fits"), [(len(letters()), True), (len(letters()) + 5, True), (299, False), (2, False)]
)
def test_a_token_without_a_row_is_refused(rows: int, fits: bool) -> None:
    model = build("llama", vocab_size=rows)
    if fits:
        check_vocabulary(letters(), model, "mine")
        return
    with pytest.raises(
        ValueError, match=rf"model: the tokenizer of 'mine' has the id {len(letters()) - 1} .* {rows} rows"
    ):
        check_vocabulary(letters(), model, "mine")
