"""What a run leaves in `final/` gives the texts that the run scored, whatever the model that it began as asks for."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.scoring import task_files
from evals.scoring.scorer import Decoding
from harness.config.run_config import resolve
from harness.models.loading import load_model, silenced
from harness.training.run import _begun, _export
from harness.training.setup import PreparedRun, prepare
from tests.harness.tiny_models import SETTINGS

# What a generation_config.json may hold that changes greedy texts.  {3}: the token that a completion begins with.
KINDS: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4, "length_penalty": -5.0},
    "beams that like length": {"num_beams": 4, "length_penalty": 5.0},
    "no repeated pairs": {"no_repeat_ngram_size": 1},
    "a minimum of new tokens": {"min_new_tokens": 7},
    "a minimum length": {"min_length": 15},
    "fewer new tokens": {"max_new_tokens": 2},
    "bad words": {"bad_words_ids": [["first"]]},
    "suppressed tokens": {"suppress_tokens": ["first"]},
    "suppressed at the beginning": {"begin_suppress_tokens": ["first"]},
    "a bias": {"sequence_bias": [[["first"], -100.0]]},
    "a longing for the end": {"exponential_decay_length_penalty": [1, 50.0]},
    "guidance": {"guidance_scale": 8.0},
}


@dataclass(frozen=True)
class Texts:
    """Prompts of a set, and what the run makes of them, greedily."""

    run: PreparedRun
    prompts: list[str]
    texts: list[str]
    tokens: list[list[int]]


def run_of(model: Path, out: Path) -> PreparedRun:
    run = prepare(resolve({"model": str(model), "out": str(out), "eval_limit": 16}, SETTINGS, None))
    with _begun(run, _Nothing(), _Nothing()):
        pass
    return run


class _Nothing:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def greedy(run: PreparedRun) -> Texts:
    file = task_files.read(run.folder / "tasks", "arithmetic")
    decoding = Decoding(0.0, file.max_new_tokens, file.stop, "eval/arithmetic")
    texts = [c.text for c in run.evaluator.generate(file.prompts, decoding)]
    return Texts(run, file.prompts, texts, [run.trainer.tokenizer.encode(p) for p in file.prompts])


@pytest.fixture(scope="module")
def plain(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Texts:
    return greedy(run_of(taught, tmp_path_factory.mktemp("plain")))


def settings_of(kind: str, plain: Texts) -> dict[str, Any]:
    """With the token that most completions begin with, so that something changes."""
    tokenizer = plain.run.trainer.tokenizer.tokenizer
    begin = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in plain.texts]
    first = max(set(begin), key=begin.count)
    return dict(json.loads(json.dumps(KINDS[kind]).replace('"first"', str(first))))


def given(taught: Path, folder: Path, settings: dict[str, Any]) -> Path:
    shutil.copytree(taught, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def by_generate(folder: Path, texts: Texts, name: str = "arithmetic") -> list[str]:
    """As lm-eval's `hf` model asks `generate`: the settings of the task file, and no others."""
    import yaml

    lines = (texts.run.folder / "tasks" / f"{name}.yaml").read_text().split("custom_dataset")[0]
    asked = yaml.safe_load(lines)["generation_kwargs"]
    until, new = asked.pop("until"), asked.pop("max_gen_toks")
    assert until == []
    with silenced():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        found = []
        for ids in texts.tokens:
            context = torch.tensor([ids])
            done = model.generate(
                input_ids=context,
                max_length=len(ids) + new,
                pad_token_id=tokenizer.pad_token_id,
                use_cache=True,
                **asked,
            )
            found.append(tokenizer.decode(done[0, len(ids) :], skip_special_tokens=True))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_export_writes_what_the_run_has_scored(kind: str, plain: Texts, taught: Path, tmp_path: Path) -> None:
    model = given(taught, tmp_path / "model", settings_of(kind, plain))
    assert by_generate(model, plain) != plain.texts  # so that there is something to be switched off
    run = run_of(model, tmp_path / "out")
    assert greedy(run).texts == plain.texts
    [notice] = [n for n in run.notices if "generation_config.json is not used" in n]
    assert all(name in notice for name in KINDS[kind])
    _export(run)
    assert by_generate(run.folder / "checkpoints" / "final", plain) == plain.texts


@pytest.mark.parametrize("settings", [KINDS["a minimum of new tokens"], {"repetition_penalty": 3.0, "top_k": 1}])
def test_lm_evals_own_model_scores_any_checkpoint_as_the_sets_ask(
    settings: dict[str, Any], plain: Texts, taught: Path, tmp_path: Path
) -> None:
    """`harness eval FOLDER --scorer hf` of the model itself, and of what was trained from it."""
    from evals.scoring.lm_eval_bridge import score_hf

    model, tasks = given(taught, tmp_path / "model", settings), plain.run.folder / "tasks"
    found = score_hf(model, tasks, ["arithmetic"], max_length=96)
    assert [outcome["text"] for outcome in found.outcomes["arithmetic"]] == plain.texts


def test_the_export_samples_as_the_run_did(plain: Texts) -> None:
    _export(plain.run)
    final = plain.run.folder / "checkpoints" / "final"
    written = json.loads((final / "generation_config.json").read_text())
    written.pop("transformers_version")
    tokenizer, sampler = plain.run.trainer.tokenizer.tokenizer, plain.run.trainer.sampler
    ids = {"eos_token_id": sampler.ends, "pad_token_id": sampler.pad, "bos_token_id": tokenizer.bos_token_id}
    assert written.items() >= {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}.items()
    assert {name: written.get(name) for name in ids} == ids
    loaded = load_model(str(final), notices=(notices := list[str]()))[0]
    assert not notices and loaded.generation_config.eos_token_id == sampler.ends
    assert plain.run.trainer.policy.modules()["policy"].generation_config.do_sample is not True  # the run's own stays
