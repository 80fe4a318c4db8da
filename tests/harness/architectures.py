"""Tiny random models of many architectures: one line each, to which a line can be added.

Windows of 8 tokens and rotary embeddings that switch at 16 are passed by every run of the sweep, whose sequences have
up to 40 tokens.  `python -m tests.harness.architectures` trains them all and writes results/architectures.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from harness.models.loading import silenced
from tests.harness.tiny_models import EOS, PAD, fill

WIDE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
GQA = {**WIDE, "num_key_value_heads": 2}
HEAD = {**GQA, "head_dim": 16}
WINDOW: dict[str, Any] = {"sliding_window": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
OLD = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SWITCH = {"original_max_position_embeddings": 16, "rope_theta": 10000.0}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **SWITCH}

SPECS: dict[str, tuple[str, dict[str, Any]]] = {  # name: (model type, fields of its configuration)
    "llama": ("llama", GQA),
    "llama3_rope": ("llama", {**GQA, "rope_scaling": LLAMA3}),
    "llama_yarn": ("llama", {**GQA, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, **SWITCH}}),
    "mistral": ("mistral", {**GQA, **WINDOW}),
    "mixtral": ("mixtral", {**GQA, **WINDOW, "num_local_experts": 4}),
    "qwen2": ("qwen2", {**GQA, **WINDOW, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen2_moe": (
        "qwen2_moe",
        {**GQA, **WINDOW, **EXPERTS, "use_sliding_window": True, "max_window_layers": 2,
         "shared_expert_intermediate_size": 32},
    ),
    "qwen3": ("qwen3", HEAD),
    "qwen3_moe": ("qwen3_moe", {**HEAD, **EXPERTS}),
    "qwen3_next": (
        "qwen3_next",
        {**HEAD, **EXPERTS, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
         "linear_value_head_dim": 16, "shared_expert_intermediate_size": 32,
         "layer_types": ["linear_attention", "full_attention"]},
    ),
    "gemma": ("gemma", {**WIDE, "num_key_value_heads": 1, "head_dim": 16}),
    "gemma2": ("gemma2", {**HEAD, **WINDOW}),
    "gemma3": ("gemma3_text", {**HEAD, **WINDOW}),
    "recurrent_gemma": (
        "recurrent_gemma",
        {**WIDE, "num_key_value_heads": 1, "lru_width": 64, "attention_window_size": 8, "num_hidden_layers": 3},
    ),
    "phi": ("phi", WIDE),
    "phi3": ("phi3", GQA),
    "phi3_longrope": ("phi3", {**GQA, "original_max_position_embeddings": 16, "rope_scaling": LONG}),
    "gpt2": ("gpt2", GPT),
    "gpt_neo": (
        "gpt_neo",
        {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128, "window_size": 8,
         "attention_types": [[["global", "local"], 1]]},
    ),
    "gpt_neox": ("gpt_neox", WIDE),
    "gptj": ("gptj", {**GPT, "rotary_dim": 8}),
    "gpt_oss": ("gpt_oss", {**HEAD, **WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "falcon": ("falcon", OLD),
    "falcon_alibi": ("falcon", {**OLD, "alibi": True}),
    "falcon_h1": (
        "falcon_h1",
        {**GQA, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1},
    ),
    "bloom": ("bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.1}),
    "mpt": ("mpt", {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}),
    "opt": (
        "opt",
        {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 128, "word_embed_proj_dim": 64},
    ),
    "granite": ("granite", {**GQA, "logits_scaling": 4.0}),
    "granitemoe": ("granitemoe", {**GQA, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmo": ("olmo", GQA),
    "olmo2": ("olmo2", GQA),
    "olmo3": ("olmo3", {**GQA, **WINDOW}),
    "cohere": ("cohere", GQA),
    "cohere2": ("cohere2", {**GQA, **WINDOW}),
    "stablelm": ("stablelm", GQA),
    "starcoder2": ("starcoder2", {**GQA, **WINDOW}),
    "smollm3": ("smollm3", {**GQA, **WINDOW, "use_sliding_window": True}),
    "glm": ("glm", HEAD),
    "glm4": ("glm4", HEAD),
    "nemotron": ("nemotron", GQA),
    "persimmon": ("persimmon", WIDE),
    "deepseek_v3": (
        "deepseek_v3",
        {**WIDE, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
         "qk_nope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
         "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
    ),
    "llama4": (
        "llama4_text",
        {**HEAD, "num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 8},
    ),
    "minimax": (
        "minimax",
        {**HEAD, "num_local_experts": 2, "layer_types": ["full_attention", "linear_attention"], "block_size": 8},
    ),
    "mamba": ("mamba", {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}),
    "mamba2": (
        "mamba2",
        {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 2},
    ),
    "lfm2": ("lfm2", {**GQA, "block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention"]}),
    "jamba": (
        "jamba",
        {**GQA, "num_experts": 2, "num_experts_per_tok": 1, "mamba_d_state": 8, "mamba_dt_rank": 4,
         "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
         "use_mamba_kernels": False},
    ),
    "bamba": (
        "bamba",
        {**GQA, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8,
         "mamba_n_groups": 1},
    ),
}  # fmt: skip
KNOWN = [name for name, (kind, _) in SPECS.items() if kind in CONFIG_MAPPING]  # an older transformers lacks a few
REFUSED = {"phi3_longrope"}  # in batches: a row past the switch changes how all others are read


@functools.cache
def _shared(name: str, vocabulary: int) -> Any:
    kind, fields = SPECS[name]
    config = CONFIG_MAPPING[kind](**fields, vocab_size=vocabulary, bos_token_id=None, eos_token_id=EOS)
    config.pad_token_id = PAD
    with silenced():
        model = fill(AutoModelForCausalLM.from_config(config), 0, 0.15).float().eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = [EOS], PAD
    return model


def tiny(name: str, vocabulary: int = 300) -> Any:
    """A fresh model: random weights, the same each time."""
    import copy

    return copy.deepcopy(_shared(name, vocabulary))


# ---------------------------------------------------------------- the sweep


def trained(name: str, folder: Path, tokenizer: Any, settings: list[str]) -> dict[str, float]:
    """Two rounds of a run on it.  The checks of its record: the self-check's, and the first update's."""
    from harness.config.run_config import resolve
    from harness.models.loading import save_model
    from harness.training.setup import prepare
    from tests.harness.tiny_models import SETTINGS as SMALL

    if not folder.exists():
        save_model(tiny(name, len(tokenizer)), tokenizer, folder)
    flags = {"model": str(folder), "out": str(folder.parent / "out"), "budget": "prompts=4", "device": "cpu"}
    fixed = ["prompts=2", "group_size=2", "max_new_tokens=16", "lr=0.001", *SMALL]
    run = prepare(resolve(flags, [*fixed, *settings], None))
    while run.loop.train_round() is not None:
        pass
    reading = "packed" if run.trainer.policy.lm.packs else f"padded, {run.trainer.sampler.engine.decoding}"
    return {"reading": reading, **run.trainer.checks}  # type: ignore[dict-item]


ARMS = {
    "grpo": ["algo=grpo", "algo.kl_coef=0.04"],
    "grpo, checkpointed": ["algo=grpo", "algo.kl_coef=0.04", "gradient_checkpointing=true"],
    "ppo": ["algo=ppo"],
    "ppo, checkpointed": ["algo=ppo", "gradient_checkpointing=true"],
}


def main() -> None:
    import tempfile

    import torch

    from harness.records.environment import environment
    from tests.harness.tiny_models import byte_tokenizer
    from tests.helpers import ROOT

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in KNOWN:
            arms: dict[str, Any] = {}
            for arm, settings in ARMS.items():
                try:
                    arms[arm] = trained(name, Path(folder) / name, byte_tokenizer(), settings)
                except ValueError as error:
                    arms[arm] = {"refused": str(error).replace(folder, "FOLDER")}
            found[name] = arms
            print(name, json.dumps(arms), flush=True)
    file = ROOT / "results" / "architectures" / "sweep.json"
    file.parent.mkdir(exist_ok=True)
    record = {
        "command": "python -m tests.harness.architectures",
        "environment": environment("cpu", torch.get_num_threads()),
        "models": found,
    }
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
