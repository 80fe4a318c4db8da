"""A random model that often calls a tool, and a slow reading of what it should then do."""

from __future__ import annotations

import copy
import functools
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from harness.config.tools import ToolFields
from harness.rollout.rng import uniforms
from harness.rollout.sampler import Sampling
from harness.rollout.token_sampling import sample_token
from harness.rollout.tools.episodes import ToolSampler
from harness.rollout.tools.toolbox import Toolbox
from tests.harness.tiny_models import PAD, VOCABULARY, build, byte_tokenizer

BYTES = bytes_to_unicode()
TAGS = ["<echo>", "</echo>", "<result>", "</result>"]


class Echo:
    """Says the query twice."""

    name = "echo"

    def call(self, text: str) -> str:
        return f"{text}{text}"


@functools.cache
def speaker() -> PreTrainedTokenizerFast:
    """A token a byte, and one for each tag."""
    mine = copy.deepcopy(byte_tokenizer())
    mine.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return mine


def ids_of(*tags: str) -> list[int]:
    return [int(speaker().convert_tokens_to_ids(tag)) for tag in tags]


def caller(kind: str = "llama", dtype: torch.dtype = torch.float32, ends: bool = True) -> Any:
    """Its head leans to the tags, and now and then to the end."""
    model = build(kind, dtype=dtype)
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        for tag, scale in (("<echo>", 3.0), ("</echo>", 4.0)):
            head[ids_of(tag)[0]] *= scale
        head[len(speaker()) :] = 0.0
    model.generation_config.eos_token_id = [1, *range(150, 156)] if ends else None
    model.generation_config.pad_token_id = PAD
    assert len(speaker()) <= VOCABULARY
    return model


FIELDS = ToolFields(calls=2, result_tokens=7)


def sampler_with(tool: Any = None, model: Any = None, rows: int = 2048, **changes: Any) -> ToolSampler:
    fields = replace(FIELDS, **changes)
    toolbox = Toolbox([tool or Echo()], fields, speaker())
    return ToolSampler(model or caller(), speaker(), rows, nullcontext, None, toolbox)


def slowly(
    sampler: ToolSampler, prompts: list[list[int]], group_size: int, sampling: Sampling
) -> list[tuple[list[int], list[bool], list[float], bool]]:
    """Tokens, which of them were sampled, log-probabilities, and did it end: row by row, token by token, by the model's
    own forward over everything so far."""
    return [
        _row(sampler, prompt, ordinal, g, sampling) for ordinal, prompt in enumerate(prompts) for g in range(group_size)
    ]


def _row(
    sampler: ToolSampler, prompt: list[int], ordinal: int, g: int, sampling: Sampling
) -> tuple[list[int], list[bool], list[float], bool]:
    box, limit = sampler.toolbox, sampling.max_new_tokens
    u = uniforms(sampling.seed, sampling.stream, [ordinal], [g], limit)[0]
    tokens, sampled, logp = list[int](), list[bool](), list[float]()
    turn, calls = list[int](), 0
    for k in range(limit):
        with torch.no_grad():
            logits = sampler.model(input_ids=torch.tensor([prompt + tokens])).logits[:, -1]
        token, lp, _ = sample_token(logits, sampling.temperature, torch.tensor([u[k]]))
        tokens.append(int(token))
        turn.append(int(token))
        sampled.append(True)
        logp.append(float(lp))
        if tokens[-1] in sampler.ends:
            return tokens, sampled, logp, True
        text = speaker().decode(turn)
        if text.endswith("</echo>") and k + 1 < limit:
            inner = text[: -len("</echo>")]
            opened = inner.rpartition("<echo>")
            if opened[1] and not any(tag in opened[2] for tag in TAGS):
                if calls == box.fields.calls:
                    return tokens, sampled, logp, False
                answer = [*(2 * opened[2].strip()).encode()]
                answer = speaker().convert_tokens_to_ids([BYTES[b] for b in answer])
                given = ids_of("<result>") + answer[: box.fields.result_tokens - 2] + ids_of("</result>")
                tokens += given
                sampled += [False] * len(given)
                logp += [0.0] * len(given)
                turn, calls = [], calls + 1
    return tokens, sampled, logp, False
