"""The rollout engine: prompts -> completions, with the sampler's own log-probabilities.

Each prompt is prefilled once and its cache broadcast to its G rows; rows that have ended are compacted away;
a token is drawn by inverting the cumulative distribution at a uniform that belongs to (seed, stream, ordinal,
completion, position) alone (`harness/noise.py`).  So the tokens do not depend on batch size, order,
padding or compaction; log-probabilities agree within 1e-5 in fp32 (masked one-token attention is not
bit-identical across widths).

Shapes: P prompts, G completions per prompt, N = P*G, S whole sequence, T completion tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from harness import noise


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.  Temperature 0 is greedy.  No truncation (top-p, top-k): the distribution that
    is sampled from is the one whose log-probabilities are stored."""

    temperature: float
    max_new_tokens: int
    seed: int = 0
    stream: str = "train"
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completions:
    """N completions, in the order of the prompts, G for each.

    Two completions of one prompt, cut at 3 tokens, 9 the end token:
    tokens_NT [[8, 9, 0], [7, 7, 7]], length_N [2, 3], ended_N [True, False].
    """

    tokens_NT: Tensor  # int64; the pad token after the end
    logp_NT: Tensor  # at least fp32; 0 after the end
    length_N: Tensor  # int64, the end token counted
    ended_N: Tensor  # bool; False where the token limit cut it


def left_pad(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """tokens_PL and attend_PL (bool) with the padding on the left."""
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(r)) + r for r in rows])
    attend = torch.tensor([[False] * (width - len(r)) + [True] * len(r) for r in rows])
    return tokens, attend


def positions(attend_NS: Tensor) -> Tensor:
    """Position ids that ignore padding: the k-th real token of a row is at k, wherever it stands."""
    return (attend_NS.cumsum(1) - 1).clamp(min=0)


def choose(logits_NV: Tensor, temperature: float, uniform_N: Tensor | None) -> tuple[Tensor, Tensor]:
    """Next token and its log-probability under the distribution it was drawn from.  Two (N,) tensors.

    token = min{v : cdf(v) > u}, the cdf in float64 so that its rounding does not move with the batch.
    Greedy (temperature 0) takes the most likely token and gives its log-probability at temperature 1.
    """
    dtype = torch.promote_types(logits_NV.dtype, torch.float32)
    logp_NV = torch.log_softmax(logits_NV.to(dtype) / (temperature or 1.0), dim=-1)
    if temperature == 0:
        token_N = logp_NV.argmax(-1)
    else:
        assert uniform_N is not None
        cdf_NV = logp_NV.double().exp().cumsum(-1)
        target_N1 = (uniform_N.double() * cdf_NV[:, -1])[:, None]
        token_N = torch.searchsorted(cdf_NV, target_N1, right=True)[:, 0].clamp(max=logp_NV.shape[1] - 1)
    return token_N, logp_NV.gather(1, token_N[:, None])[:, 0]


class Sampler:
    """Generates with a transformers causal LM.  It reads the model and changes nothing in it."""

    COMPACT = 0.8  # gather the live rows into a smaller cache when no more than this share is still live

    def __init__(self, model: Any, tokenizer: Any, rows: int = 2048) -> None:
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        ends = getattr(model.generation_config, "eos_token_id", None)
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if tokenizer.eos_token_id is not None:
            ends.append(tokenizer.eos_token_id)
        self.ends = sorted(set(ends))
        self.peak_cache_bytes = 0  # of keys and values, over all that was generated so far
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self.ends or [0])[0]

    @torch.inference_mode()
    def __call__(
        self, prompts: list[list[int]], group_size: int, sampling: Sampling, ordinals: list[int] | None = None
    ) -> Completions:
        """G completions of each prompt.  `ordinals` names each prompt's draw (default: its place in the list).

        At most `rows` completions are decoded at once; the result does not depend on it.
        """
        ordinals = list(range(len(prompts))) if ordinals is None else ordinals
        step = max(1, self.rows // group_size)
        training = self.model.training
        self.model.eval()
        try:
            parts = [
                self._decode(prompts[i : i + step], group_size, sampling, ordinals[i : i + step])
                for i in range(0, len(prompts), step)
            ]
        finally:
            self.model.train(training)
        width = max(int(p.length_N.max()) for p in parts)
        return Completions(
            torch.cat([_fit(p.tokens_NT, width, self.pad) for p in parts]),
            torch.cat([_fit(p.logp_NT, width, 0) for p in parts]),
            torch.cat([p.length_N for p in parts]),
            torch.cat([p.ended_N for p in parts]),
        )

    def _uniforms(self, sampling: Sampling, ordinals: list[int], group_size: int) -> Tensor | None:
        if sampling.temperature == 0:
            return None
        rows = [(o, g) for o in ordinals for g in range(group_size)]
        drawn = noise.uniforms(
            sampling.seed, sampling.stream, [o for o, _ in rows], [g for _, g in rows], sampling.max_new_tokens
        )
        return torch.from_numpy(np.ascontiguousarray(drawn.T)).to(self.model.device)  # (T, N)

    def _decode(
        self, prompts: list[list[int]], group_size: int, sampling: Sampling, ordinals: list[int]
    ) -> Completions:
        device, horizon = self.model.device, sampling.max_new_tokens
        u_TN = self._uniforms(sampling, ordinals, group_size)
        tokens_PL, attend_PL = (x.to(device) for x in left_pad(prompts, self.pad))
        cache = DynamicCache(config=self.model.config)
        logits = self.model(
            input_ids=tokens_PL,
            attention_mask=attend_PL.long(),
            position_ids=positions(attend_PL),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if group_size > 1:
            cache.batch_repeat_interleave(group_size)
        logits = logits.repeat_interleave(group_size, 0)
        self.peak_cache_bytes = max(self.peak_cache_bytes, _held_bytes(cache))
        attend = attend_PL.repeat_interleave(group_size, 0)
        rows = len(prompts) * group_size
        tokens_NT = torch.full((rows, horizon), self.pad, dtype=torch.long, device=device)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        logp_NT = torch.zeros(rows, horizon, dtype=dtype, device=device)
        length_N = torch.zeros(rows, dtype=torch.long, device=device)
        ended_N = torch.zeros(rows, dtype=torch.bool, device=device)
        ends = torch.tensor(self.ends, device=device)
        live = torch.arange(rows, device=device)  # which completion each row of the cache belongs to
        for t in range(horizon):
            token, logp = choose(logits, sampling.temperature, None if u_TN is None else u_TN[t, live])
            open_ = ~ended_N[live]  # rows that ended since the last compaction are decoded on, and ignored
            writing = live[open_]
            tokens_NT[writing, t], logp_NT[writing, t], length_N[writing] = token[open_], logp[open_], t + 1
            ended_N[writing] = torch.isin(token[open_], ends) | self._stopped(tokens_NT[writing, : t + 1], sampling)
            open_ = ~ended_N[live]
            left = int(open_.sum())
            if left == 0 or t + 1 == horizon:
                break
            if left <= self.COMPACT * len(live):
                keep = open_.nonzero()[:, 0]
                cache.batch_select_indices(keep)
                live, attend, token = live[keep], attend[keep], token[keep]
            attend = torch.cat([attend, attend.new_ones(len(live), 1)], 1)
            logits = self.model(
                input_ids=token[:, None],
                attention_mask=attend.long(),
                position_ids=(attend.sum(1, keepdim=True) - 1),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            self.peak_cache_bytes = max(self.peak_cache_bytes, _held_bytes(cache))
        width = int(length_N.max())
        return Completions(tokens_NT[:, :width], logp_NT[:, :width], length_N, ended_N)

    def _stopped(self, tokens_NT: Tensor, sampling: Sampling) -> Tensor:
        """Which rows contain a stop string by now.  Only the tail that a new token can complete is decoded."""
        if not sampling.stop:
            return torch.zeros(len(tokens_NT), dtype=torch.bool, device=tokens_NT.device)
        tail = 2 + max(len(s.encode()) for s in sampling.stop)
        texts = self.tokenizer.batch_decode(tokens_NT[:, -tail:], skip_special_tokens=True)
        hits = [any(s in text for s in sampling.stop) for text in texts]
        return torch.tensor(hits, dtype=torch.bool, device=tokens_NT.device)

    def texts(self, completions: Completions, stop: tuple[str, ...] = ()) -> list[str]:
        """Decoded completions, without special tokens, cut before the first stop string."""
        rows = [row[:n] for row, n in zip(completions.tokens_NT.tolist(), completions.length_N.tolist(), strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        for s in stop:
            texts = [text.split(s)[0] for text in texts]
        return texts


def _held_bytes(cache: DynamicCache) -> int:
    """Bytes of the keys and values that a cache holds now, in whatever precision they were computed."""
    held = [getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values")]
    return sum(x.nbytes for x in held if isinstance(x, Tensor))


def _fit(x_NT: Tensor, width: int, fill: float) -> Tensor:
    """Cut or pad the columns to `width`."""
    if x_NT.shape[1] >= width:
        return x_NT[:, :width]
    return torch.nn.functional.pad(x_NT, (0, width - x_NT.shape[1]), value=fill)
