"""The models for benchmarks: public shapes with random weights, and the embedded model with its trained ones.

A shape becomes a folder that both sides load with `from_pretrained`: the same weights, the same tokenizer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

SEED = 0  # of the random weights


def _qwen(hidden: int, layers: int, heads: int, groups: int, inner: int, vocabulary: int, tied: bool) -> dict[str, Any]:
    """Qwen2.5 as its config.json has it (https://huggingface.co/Qwen)."""
    return {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }


def _llama(hidden: int, layers: int, heads: int, groups: int, inner: int) -> dict[str, Any]:
    """A small Llama over a byte-level vocabulary."""
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": inner,
        "vocab_size": 300,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "nano": {},  # the embedded model: its config is in its folder
    "tiny": _llama(32, 2, 4, 2, 64),
    "trl-llama": _llama(192, 4, 6, 1, 512),  # 1.58 M parameters
    "smollm2-135m": {**_llama(576, 30, 9, 3, 1536), "vocab_size": 49152, "max_position_embeddings": 8192},
    "qwen2.5-0.5b": _qwen(896, 24, 14, 2, 4864, 151936, tied=True),
    "qwen2.5-1.5b": _qwen(1536, 28, 12, 2, 8960, 151936, tied=True),
    "qwen2.5-7b": _qwen(3584, 28, 28, 4, 18944, 152064, tied=False),
}


def check(name: str) -> None:
    """Raises ValueError on an unknown shape, listing the valid ones."""
    if name not in SHAPES:
        raise ValueError(f"model: unknown shape '{name}'; valid: {', '.join(SHAPES)}")


def parameters(name: str) -> int:
    """The parameter count of a random-weight shape, tied ones counted once.  Nothing is allocated."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    check(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[name]), trust_remote_code=False)
    return sum(p.numel() for p in model.parameters())


def tokenizer(vocabulary: int) -> Any:
    """Byte-level, with an end and a pad token; ids above the bytes are words that no text encodes to.

    So every id of a random model decodes to its own text, and different completions differ as text.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from harness.models.pretraining.trainer import EOS, PAD, build_tokenizer

    plain = build_tokenizer(iter(["0123456789+-*/()="]), 258, [])
    spelled = json.loads(plain.backend_tokenizer.to_str())
    known = len(spelled["model"]["vocab"])
    spelled["model"]["vocab"] |= {f"\u0120w{i}": i for i in range(known, vocabulary)}  # \u0120 decodes to a space
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spelled)),
        pad_token=PAD,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
    )


def folder(name: str, where: Path) -> Path:
    """Save the shape's model and tokenizer in `where`, weights in fp32; bitwise the same every time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.config.start_models import defaults_file
    from harness.models.loading import load_model, save_model, silenced

    check(name)
    where.mkdir(parents=True, exist_ok=True)
    if not SHAPES[name]:
        model, words, _ = load_model(name)
        profile = defaults_file(name)
        assert profile is not None
        shutil.copy(profile, where)
    else:
        words = tokenizer(SHAPES[name]["vocab_size"])
        ends = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
        torch.manual_seed(SEED)
        with silenced():
            config = AutoConfig.for_model(**SHAPES[name], **ends)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    save_model(model, words, where)
    return where
