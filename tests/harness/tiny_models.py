"""Small models and what is built on them, for the tests of the harness.

Weights come from numpy's generator, whose bits do not move with the machine, and are large enough that the next
token's distribution is far from uniform and from certain.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from algos import Critic, Rollouts
from harness.models.loading import accelerator, silenced
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.rollout.sampler import Completions, Sampler, Sampling

VOCABULARY = 300
PAD, EOS = 0, 1
ENDS = [EOS, *range(20, 40)]  # a random model rarely says one certain token: with 21 of 300, some rows end early

# Of the task `arithmetic` for `taught`, which has read just these problems.
SIZES = {"train_size": 16, "test_size": 16, "other_size": 4}
SETTINGS = [f"task.{name}={value}" for name, value in SIZES.items()]

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
GATED = {**COMMON, "intermediate_size": 48, "max_position_embeddings": 128}

CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**GATED, num_key_value_heads=2, tie_word_embeddings=False),
    "llama_tied": lambda: LlamaConfig(**GATED, num_key_value_heads=4, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=None, eos_token_id=EOS
    ),
    "qwen2": lambda: Qwen2Config(**GATED, num_key_value_heads=2, tie_word_embeddings=True),
    "gemma": lambda: GemmaConfig(**GATED, num_key_value_heads=1, head_dim=16),
    "mistral": lambda: MistralConfig(**GATED, num_key_value_heads=2, sliding_window=8),
}
KINDS = ["llama", "gpt2", "qwen2", "gemma", "mistral"]  # RoPE, absolute positions, biases, wide heads, a window


def fill(model: Any, seed: int, spread: float = 0.25) -> Any:
    """Every matrix and bias of the model from one numpy stream; the norms' weights stay."""
    rng = np.random.default_rng(seed)
    done = set()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if id(p) in done or (p.dim() == 1 and name.endswith("weight")):
                continue
            done.add(id(p))
            p.copy_(torch.from_numpy(rng.standard_normal(p.shape)) * spread)
    return model


def build(kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    config = CONFIGS[kind]()
    for name, value in changes.items():
        setattr(config, name, value)
    with silenced():
        model = fill(AutoModelForCausalLM.from_config(config), seed).to(dtype).eval()
    if dtype == torch.float64:
        exact_norms(model)
    model.generation_config.eos_token_id = ENDS
    model.generation_config.pad_token_id = PAD
    return model


def exact_norms(model: Any) -> None:
    """transformers' RMS norms round to fp32 on the way, whatever the model's precision: not these."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in ("LlamaRMSNorm", "Qwen2RMSNorm", "MistralRMSNorm"):
                norm = torch.nn.RMSNorm(len(child.weight), child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(module, name, norm)


@functools.cache
def shared(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    """For tests that change nothing in it."""
    return build(kind, dtype=dtype)


@functools.cache
def letters() -> PreTrainedTokenizerFast:
    """One token, two letters: any sequence decodes to ASCII, and a piece of text may straddle tokens."""
    pieces = [a + b for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"][: VOCABULARY - 3]
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


@functools.cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Reads any text: one token a byte, behind the pad and the end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def sampler_of(kind: str, rows: int = 2048, dtype: torch.dtype = torch.float32) -> Sampler:
    return Sampler(shared(kind, dtype), letters(), rows)


def prompts_of(count: int, longest: int = 9, seed: int = 0) -> list[list[int]]:
    """Prompts of different lengths; the first has one token, the second the most."""
    rng = np.random.default_rng(seed)
    lengths = [1, longest, *rng.integers(1, longest + 1, count)][:count]
    return [[int(x) for x in rng.integers(40, VOCABULARY, n)] for n in lengths]


def rollouts_of(prompts: Sequence[list[int]], group_size: int, done: Completions, left: int = 0) -> Rollouts:
    """Sampled completions behind their prompts, with `left` columns more of padding than are needed."""
    width = max(map(len, prompts)) + left
    rows, attend = [], []
    for i in range(len(done.length_N)):
        prompt, length = prompts[i // group_size], int(done.length_N[i])
        rows.append([PAD] * (width - len(prompt)) + prompt + done.tokens_NT[i].tolist())
        horizon = done.tokens_NT.shape[1]
        attend.append([0] * (width - len(prompt)) + [1] * (len(prompt) + length) + [0] * (horizon - length))
    attention_mask_NS = torch.tensor(attend).bool()
    return Rollouts(
        tokens_NS=torch.tensor(rows),
        attention_mask_NS=attention_mask_NS,
        completion_mask_NT=attention_mask_NS[:, width:],
        logp_NT=done.logp_NT,
        entropy_NT=done.entropy_NT,
        group_N=torch.arange(len(rows)) // group_size,
        valid_N=torch.ones(len(rows)).bool(),
        finished_N=done.finished_N,
    )


def explored(
    kind: str, dtype: torch.dtype = torch.float32, temperature: float = 0.8, group_size: int = 4, tokens: int = 12
) -> Rollouts:
    """Four prompts of different lengths, sampled."""
    prompts = prompts_of(4)
    sampling = Sampling(temperature, tokens, seed=15)
    return rollouts_of(prompts, group_size, sampler_of(kind, dtype=dtype)(prompts, group_size, sampling))


def policy_of(
    kind: str,
    dtype: torch.dtype = torch.float32,
    temperature: float = 0.8,
    reference: bool = False,
    micro_batch_tokens: int = 8192,
    optim: OptimizerSettings | None = None,
    critic: Critic = "none",
    critic_lr: float = 1.0,
    **changes: Any,
) -> LMPolicy:
    """A fresh copy of the model that `explored` sampled from."""
    name = {torch.float32: "float32", torch.float64: "float64"}[dtype]
    return LMPolicy(
        build(kind, dtype=dtype, **changes),
        accelerator("cpu", name),
        optim or OptimizerSettings(lr=1e-3),
        temperature,
        reference,
        micro_batch_tokens,
        critic,
        critic_lr,
    )


def plain_logp(model: Any, row: list[int], start: int, temperature: float) -> torch.Tensor:
    """log pi of row[start:], from one forward over the unpadded row alone.  Shape (len(row) - start, V)."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row])).logits[0]
    return torch.log_softmax(logits[start - 1 : -1].double() / temperature, -1)


def real_rows(r: Rollouts) -> list[tuple[list[int], int]]:
    """Each row without its padding, and where its completion starts."""
    found = []
    for tokens, attend, mask in zip(r.tokens_NS, r.attention_mask_NS, r.completion_mask_NT, strict=True):
        row = tokens[attend].tolist()
        found.append((row, len(row) - int(mask.sum())))
    return found


def files_of(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


# ---------------------------------------------------------------- micro

MICRO = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
MICRO |= {"num_key_value_heads": 2, "max_position_embeddings": 512}


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """micro's recipe at sizes that a CPU makes in seconds; all else is as it ships."""
    from harness.models.pretraining import recipes

    whole = recipes.recipe_of

    def small(name: str, updates: int | None = None) -> dict[str, object]:
        return {**whole(name, updates), "shape": MICRO, "rows": 2, "tokenizer_documents": 300}

    monkeypatch.setattr(recipes, "recipe_of", small)
