"""What is loaded is what the files hold: no tensor is made up, and none is passed over without a word."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.cli import main
from harness.models.loading import load_model, save_model, silenced
from harness.rewards.reward_model import from_policy, load
from tests.harness.tiny_models import GATED, SETTINGS, build, letters

Tensors = dict[str, torch.Tensor]
LAYER = "model.layers.1."


def tensors_of(model: Any) -> Tensors:
    """A copy of each, as files hold them: a tied tensor once."""
    copies, seen = {}, set()
    for name, x in model.state_dict().items():
        if x.data_ptr() not in seen:
            copies[name] = x.clone()
        seen.add(x.data_ptr())
    return copies


def shards(tensors: Tensors) -> list[Tensors]:
    names = sorted(tensors)
    return [{name: tensors[name] for name in names[i::2]} for i in range(2)]


def write(folder: Path, tensors: Tensors, form: str) -> None:
    """The weights of a folder anew, as one file or as two with an index, in safetensors or as torch saves them."""
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.index.json")]:
        file.unlink()
    stem, end = ("model", "safetensors") if "safetensors" in form else ("pytorch_model", "bin")
    parts = shards(tensors) if form.startswith("sharded") else [tensors]
    places = {}
    for i, part in enumerate(parts):
        name = f"{stem}.{end}" if len(parts) == 1 else f"{stem}-{i + 1:05d}-of-{len(parts):05d}.{end}"
        places |= dict.fromkeys(part, name)
        if end == "bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, {"format": "pt"})
    if len(parts) > 1:
        index = {"metadata": {"total_size": sum(x.nbytes for x in tensors.values())}, "weight_map": places}
        (folder / f"{stem}.{end}.index.json").write_text(json.dumps(index))


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: x for name, x in tensors.items() if not name.startswith(names)}


def added(**more: torch.Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name.replace("__", "."): x for name, x in more.items()}


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): x for name, x in tensors.items()}


def cut_vocabulary(tensors: Tensors) -> Tensors:
    return {name: x[:200] if len(x) == 300 else x for name, x in tensors.items()}


FORMS = ["safetensors", "sharded safetensors", "bin", "sharded bin"]
# name: (architecture, what becomes of the tensors, fields of config.json that change, what the message holds)
REFUSED: dict[str, tuple[str, Callable[[Tensors], Tensors], dict[str, Any], list[str]]] = {
    "no output head, not tied": ("llama", without("lm_head"), {}, ["lack", "lm_head.weight"]),
    "a projection": ("llama", without(f"{LAYER}self_attn.v_proj"), {}, ["lack", f"{LAYER}self_attn.v_proj.weight"]),
    "a bias": ("qwen2", without(f"{LAYER}self_attn.q_proj.bias"), {}, ["lack", f"{LAYER}self_attn.q_proj.bias"]),
    "a norm": ("llama", without("model.norm"), {}, ["lack", "model.norm.weight"]),
    "a layer": ("llama", without(LAYER), {}, ["lack 9", f"{LAYER}input_layernorm.weight", "more"]),
    "the embedding of a tied model": ("qwen2", without("model.embed_tokens", "lm_head"), {}, ["model.embed_tokens"]),
    "saved from the trunk": ("llama", lambda x: renamed("model.", "")(without("lm_head")(x)), {}, ["lm_head.weight"]),
    "under another name": ("llama", renamed("model.", "_orig_mod.model."), {}, ["lack", "have no place"]),
    "absolute positions": ("gpt2", without("transformer.wpe"), {}, ["transformer.wpe.weight"]),
    "more layers in the configuration": ("llama", lambda x: x, {"num_hidden_layers": 3}, ["lack 9", "layers.2."]),
    "fewer layers in the configuration": ("llama", lambda x: x, {"num_hidden_layers": 1}, ["no place for 9", LAYER]),
    "fewer layers, gpt2": ("gpt2", lambda x: x, {"n_layer": 1}, ["no place for", "transformer.h.1."]),
    "biases that the configuration has not": (
        "llama",
        added(model__layers__0__self_attn__q_proj__bias=torch.ones(32)),
        {},
        ["no place for 1", "model.layers.0.self_attn.q_proj.bias"],
    ),
    "another vocabulary": ("llama", cut_vocabulary, {}, ["shape", "lm_head.weight", "(200, 32)", "(300, 32)"]),
    "another width": ("llama", lambda x: x, {"intermediate_size": 40}, ["shape", "gate_proj", "(40, 32)"]),
}
# name: (architecture, what becomes of the tensors, fields of config.json, what the notice holds: none where empty)
LOADED: dict[str, tuple[str, Callable[[Tensors], Tensors], dict[str, Any], list[str]]] = {
    "as it was": ("llama", lambda x: x, {}, []),
    "tied, the head left out": ("qwen2", without("lm_head"), {}, []),
    "tied, both there": ("qwen2", lambda x: x | {"lm_head.weight": x["model.embed_tokens.weight"].clone()}, {}, []),
    "tied, saved from the trunk": ("qwen2", lambda x: renamed("model.", "")(without("lm_head")(x)), {}, []),
    "tied in the configuration alone": ("llama", lambda x: x, {"tie_word_embeddings": True}, ["tie_word_embeddings"]),
    "rotary frequencies": ("llama", added(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4)), {}, []),
    "gpt2's causal masks": ("gpt2", added(transformer__h__0__attn__bias=torch.ones(1, 1, 128, 128)), {}, []),
    "a value head": ("llama", added(v_head__summary__weight=torch.ones(1, 32)), {}, ["v_head.summary.weight"]),
    "a classifier's head": ("qwen2", added(score__weight=torch.ones(1, 32)), {}, ["score.weight"]),
    "a draft layer": ("llama", added(mtp__layers__0__mlp__weight=torch.ones(2)), {}, ["mtp.layers.0.mlp.weight"]),
    "eyes": ("llama", added(vision_tower__patches__weight=torch.ones(2)), {}, ["vision_tower.patches.weight"]),
}


Change = Callable[[Tensors], Tensors]


def folder_of(tmp_path: Path, kind: str, change: Change, config: dict[str, Any], form: str) -> Any:
    model, folder = build(kind), tmp_path / "model"
    save_model(model, letters(), folder)
    write(folder, change(tensors_of(model)), form)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return model, folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_do_not_fit_their_configuration_are_refused(tmp_path: Path, name: str, form: str) -> None:
    kind, change, config, parts = REFUSED[name]
    _, folder = folder_of(tmp_path, kind, change, config, form)
    with pytest.raises(ValueError, match=f"^model: {folder}: the weights ") as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOADED)
def test_weights_that_fit_are_loaded_as_they_are(tmp_path: Path, name: str, form: str) -> None:
    kind, change, config, parts = LOADED[name]
    model, folder = folder_of(tmp_path, kind, change, config, form)
    notices: list[str] = []
    loaded, _, _ = load_model(str(folder), notices=notices)
    expected = model.state_dict()
    assert all(torch.equal(x, expected[key]) for key, x in loaded.state_dict().items())
    assert len(notices) == bool(parts) and all(part in notices[0] for part in parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "part"),
    [
        (without(f"{LAYER}mlp.up_proj"), f"{LAYER}mlp.up_proj.weight"),
        (without("model.norm"), "model.norm.weight"),
        (without("score"), "score.weight"),
        (added(model__layers__2__mlp__up_proj__weight=torch.ones(2)), "model.layers.2.mlp.up_proj.weight"),
    ],
)
def test_a_reward_model_that_is_not_whole_is_refused(
    tmp_path: Path, change: Callable[[Tensors], Tensors], part: str, form: str
) -> None:
    classifier, folder = from_policy(build("llama")), tmp_path / "judge"
    save_model(classifier, letters(), folder)
    assert torch.equal(load(str(folder), letters()).score.weight, classifier.score.weight)
    write(folder, change(tensors_of(classifier)), form)
    with pytest.raises(ValueError, match=r"^reward_model.name: ") as caught:
        load(str(folder), letters())
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("harm", ["cut", "gone", "empty", "noise"])
def test_files_that_cannot_be_read_are_one_line(tmp_path: Path, harm: str, form: str) -> None:
    """The last file of the weights; where it is the only one and gone, there are none."""
    _, folder = folder_of(tmp_path, "llama", lambda x: x, {}, form)
    file = max([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if harm == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\xff" * len(content)}[harm])
    with pytest.raises(ValueError, match=f"^model: .*{folder}") as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["safetensors", "sharded safetensors"])
@pytest.mark.parametrize(
    "lost", ["0.mlp.experts.3.gate_proj.weight", "1.mlp.experts.0.down_proj.weight", "1.mlp.experts.2."]
)
def test_an_expert_that_is_not_whole_is_named(tmp_path: Path, lost: str, form: str) -> None:
    """Files hold a tensor for each expert, which are stacked as they are read."""
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    sizes = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    with silenced():
        model = AutoModelForCausalLM.from_config(Qwen3MoeConfig(**{**GATED, **sizes, "num_key_value_heads": 2}))
    folder = tmp_path / "model"
    save_model(model, letters(), folder)
    tensors = load_file(folder / "model.safetensors")
    write(folder, tensors, form)
    load_model(str(folder))
    write(folder, without(f"model.layers.{lost}")(tensors), form)
    with pytest.raises(ValueError, match=f"^model: {folder}: the weights ") as caught:
        load_model(str(folder))
    layer = lost.partition(".")[0]
    assert f"model.layers.{lost}" in str(caught.value) or f"model.layers.{layer}.mlp.experts" in str(caught.value)


def test_an_adapter_of_no_model_is_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, _ = folder_of(tmp_path, "llama", lambda x: x, {}, "safetensors")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="adapter_config.json names no base"):
        load_model(str(tmp_path / "model"))


def spoiled(name: str, value: float) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: torch.full_like(tensors[name], value)}


V, UP = "model.layers.1.self_attn.v_proj", "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (without(V), f"{V}.weight"),
        (spoiled(UP, float("nan")), "its logits are not finite: its weights hold NaN"),
        (spoiled(UP, float("inf")), "its logits are not finite: its weights hold NaN"),
    ],
    ids=["lacking", "nan", "inf"],
)
def test_a_run_of_such_a_model_ends_before_it_begins(
    harm: Callable[[Tensors], Tensors],
    told: str,
    tmp_path: Path,
    taught: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with silenced():
        model, folder = AutoModelForCausalLM.from_pretrained(taught), tmp_path / "model"
    save_model(model, AutoTokenizer.from_pretrained(taught), folder)
    write(folder, harm(tensors_of(model)), "safetensors")
    words = ["harness", "run", "--model", str(folder), "--out", str(tmp_path / "out"), "--max-new-tokens", "16"]
    monkeypatch.setattr(sys, "argv", [*words, *(word for setting in SETTINGS for word in ("--set", setting))])
    with pytest.raises(SystemExit) as stop:
        main.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and told in error
    assert not (tmp_path / "out").exists()
