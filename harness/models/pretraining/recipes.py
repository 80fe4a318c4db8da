"""Runs a pretraining recipe and writes down what came of it (`recipe.json` beside the weights)."""

from __future__ import annotations

import hashlib
import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from evals import tasks
from harness.config import start_models
from harness.config.coercion import build
from harness.config.start_models import MODELS, embedded_models
from harness.models.pretraining import arithmetic_corpus, lookup_corpus, story_corpus
from harness.models.pretraining.trainer import Document, Packer, build_model, build_tokenizer, fit, save, text_of
from harness.records.environment import environment
from harness.records.io import write_json

Say = Callable[[str], None]
Corpus = Callable[[int, dict[str, Any]], Iterator[Document]]  # (seed, the stage's mixture) -> documents


# What a recipe's `corpus` names; each stage of it says its mixture.
CORPORA: dict[str, Corpus] = {
    "arithmetic": lambda seed, mix: arithmetic_corpus.documents(seed, arithmetic_corpus.Mixture(**mix)),
    "stories": lambda seed, mix: story_corpus.documents(seed, story_corpus.StoryMixture(**mix)),
    "lookup": lambda seed, mix: lookup_corpus.documents(seed, lookup_corpus.LookupMixture(**mix)),
}


def cycle(pairs: Sequence[Document]) -> Corpus:
    """A finite corpus, walked again and again in a seeded order."""

    def corpus(seed: int, _: dict[str, Any]) -> Iterator[Document]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for i in torch.randperm(len(pairs), generator=generator).tolist():
                yield pairs[i]

    return corpus


def recipe_of(name: str, updates: int | None = None) -> dict[str, Any]:
    """An embedded model's recipe; `updates`, where given, is the most that a stage makes: a trial, not the model."""
    recipe = start_models.recipe_of(name)
    if updates is not None:
        recipe["stage"] = [{**stage, "updates": min(updates, stage["updates"])} for stage in recipe["stage"]]
    return recipe


def rebuild(name: str, out: Path, say: Say, device: str = "cpu", updates: int | None = None) -> Path:
    """Pretrain the embedded model `name` from its recipe into `out`; its profile goes along."""
    recipe = recipe_of(name, updates)
    profile = (MODELS / name / "model_defaults.toml").read_text()
    run(recipe, CORPORA[recipe.get("corpus", "arithmetic")], out, say, device)
    (out / "model_defaults.toml").write_text(profile)
    (out / "recipe.toml").write_text((MODELS / name / "recipe.toml").read_text())
    return out


def run(recipe: dict[str, Any], corpus: Corpus, out: Path, say: Say, device: str = "cpu") -> dict[str, Any]:
    """Build the tokenizer and the model, train through the recipe's stages, save into `out`.

    Returns (and writes to `recipe.json`) the recipe, what each stage did, the weights' sha256 and the machine.
    """
    seed, stages = recipe["seed"], recipe["stage"]
    sample = itertools.islice(corpus(seed + 1, stages[-1].get("mixture", {})), recipe["tokenizer_documents"])
    tokenizer = build_tokenizer((a + text_of(b) for a, b in sample), recipe["vocabulary"], recipe.get("words", []))
    assert isinstance(tokenizer.pad_token_id, int) and isinstance(tokenizer.eos_token_id, int)
    model = build_model(recipe["shape"], len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, seed)
    model.to(device)  # type: ignore[arg-type]
    parameters = sum(p.numel() for p in model.parameters())
    say(f"{parameters:,} parameters, {len(tokenizer)} tokens of vocabulary")

    backend = tokenizer.backend_tokenizer

    def encode(text: str) -> list[int]:
        return list(backend.encode(text, add_special_tokens=False).ids)  # the wrapper takes ten times as long

    done = []
    for k, stage in enumerate(stages):
        stream = corpus(seed + 10 * (k + 1), stage.get("mixture", {}))
        packer = Packer(stream, encode, tokenizer.eos_token_id, recipe["rows"], recipe["width"])
        done.append(fit(model, packer, stage["updates"], stage["lr"], stage["warmup"], say))
        done[-1]["documents_too_long"] = packer.skipped
        save(model, tokenizer, out)
    result = {
        "recipe": recipe,
        "stages": done,
        "parameters": parameters,
        "seconds": sum(d["seconds"] for d in done),
        "weights_sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "environment": environment(platform.machine(), torch.get_num_threads()),
    }
    write_json(out / "recipe.json", result)
    return result


# A small model of a task's own training solutions: enough to walk the real-data path, not to solve it.
TASK_RECIPE: dict[str, Any] = {
    "seed": 0,
    "vocabulary": 2048,
    "words": [],
    "tokenizer_documents": 8000,
    "rows": 8,
    "width": 512,
    "shape": {
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "max_position_embeddings": 1024,
    },
    "stage": [{"updates": 400, "lr": 2e-3, "warmup": 40}],
}

TASK_PROFILE = """# Scale settings of a small model pretrained on a task's solutions.
max_new_tokens = 192
prompts = 8
group_size = 8
lr = 1e-4
budget = "completions=512"
"""


def pretrain(
    model: str | None,
    task: str | None,
    train_file: str | None,
    out: Path | None,
    updates: int | None,
    device: str,
    say: Say,
) -> Path:
    """What `harness pretrain` does.  Raises ValueError, one line, on anything the user got wrong."""
    from harness.models.loading import pick_device

    device = pick_device(device)
    if task is None:
        made = [name for name in embedded_models() if start_models.packaged(name) is None]
        if model is None or model not in made:
            raise ValueError(
                f"pretrain: {model or 'nothing'} is no embedded model; valid: {', '.join(made)}, or --task"
            )
        return rebuild(model, _free(out or Path(f"{model}-rebuilt")), say, device, updates)
    if model is not None:
        raise ValueError(f"pretrain: give a model to rebuild ({model}) or --task, not both")
    fields = {"train_file": train_file} if train_file else {}
    built = build(tasks.load(task), fields, "task.")
    pairs = built.solutions()
    if not pairs:
        raise ValueError(f"pretrain: the task {task} has no written solutions to learn from")
    folder = _free(out or Path(f"{built.name}-small"))
    recipe = {**TASK_RECIPE, "task": task, "documents": len(pairs)}
    if updates is not None:
        recipe["stage"] = [{**TASK_RECIPE["stage"][0], "updates": updates}]
    run(recipe, cycle(pairs), folder, say, device)
    (folder / "model_defaults.toml").write_text(TASK_PROFILE)
    return folder


def _free(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"pretrain: {folder} is not empty; choose another folder")
    return folder
