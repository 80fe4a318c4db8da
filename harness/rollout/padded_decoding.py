"""Decoders for architectures that cannot be read packed: a row for each completion, with padding.

`CachedDecoder` goes on from transformers' own cache, prompts padded on the left.  `UncachedDecoder` reads every row
from its beginning for every token, padded on the right: slow, and right for any causal model (recurrent layers see
padding on the left, and not every cache can be dealt out to a group's rows).

Shapes: P prompts, B rows, L columns, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from algos import Rollouts
from harness.models.backbone import Autocast, left_aligned, positions
from harness.models.causal_lm import CausalLM
from harness.rollout.token_sampling import Draw, SampledToken


def as_rollouts(prompts: list[list[int]], pad: int, device: torch.device) -> Rollouts:
    """Prompts before a completion of one token, which is not read."""
    width = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (width - len(p)) + p + [pad] for p in prompts], device=device)
    attend = torch.tensor([[False] * (width - len(p)) + [True] * (len(p) + 1) for p in prompts], device=device)
    mask_PT = attend[:, width:]
    return Rollouts(
        tokens, attend, mask_PT, torch.zeros(mask_PT.shape, device=device), torch.arange(len(prompts), device=device)
    )


class CachedDecoder:
    """Any causal LM by its own forward and transformers' cache.

    Every prompt must own the same number of rows, in the order of the prompts."""

    def __init__(
        self, model: Any, autocast: Autocast, prompts: list[list[int]], owner_B: Tensor, pad: int, draw: Draw
    ) -> None:
        self.model, self.autocast, self.draw = model, autocast, draw
        r = as_rollouts(prompts, pad, owner_B.device)
        tokens_PL, attend_PL = r.tokens_NS[:, :-1], r.attention_mask_NS[:, :-1]
        self.attend, self.cache = attend_PL, DynamicCache(config=model.config)
        self.logits_PV = self._forward(tokens_PL, positions(attend_PL))
        self.cache.batch_repeat_interleave(len(owner_B) // len(prompts))
        self.attend = attend_PL[owner_B]
        self.most = self._bytes()

    def step(self, t: int, token_B: Tensor, uniform_B: Tensor | None) -> SampledToken:
        self.attend = torch.cat([self.attend, self.attend.new_ones(len(self.attend), 1)], 1)
        logits = self._forward(token_B[:, None], self.attend.sum(1, keepdim=True) - 1)
        self.most = max(self.most, self._bytes())
        return self.draw(logits, uniform_B)

    def select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.attend = self.attend[rows]

    def _forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        forward = type(self.model).forward  # the object's may be accelerate's, which casts whatever is asked for
        with self.autocast():
            logits: Tensor = forward(
                self.model,
                input_ids=tokens,
                attention_mask=self.attend.long(),
                position_ids=places,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        return logits[:, -1]

    @property
    def peak_bytes(self) -> int:
        return self.most

    def _bytes(self) -> int:
        held = [getattr(layer, name, None) for layer in self.cache.layers for name in ("keys", "values")]
        return sum(x.nbytes for x in held if isinstance(x, Tensor))


class UncachedDecoder:
    """Any causal LM, read anew from each row's beginning for every token."""

    peak_bytes = 0  # nothing is kept but the tokens

    def __init__(
        self, lm: CausalLM, prompts: list[list[int]], owner_B: Tensor, horizon: int, pad: int, draw: Draw
    ) -> None:
        self.lm, self.draw = lm, draw
        r = as_rollouts(prompts, pad, owner_B.device)
        tokens_PL, attend_PL = left_aligned(r.tokens_NS[:, :-1], r.attention_mask_NS[:, :-1])
        self.logits_PV = self._read(tokens_PL, attend_PL.sum(1))
        self.length_B = attend_PL.sum(1)[owner_B]
        self.tokens_BL = torch.nn.functional.pad(tokens_PL[owner_B], (0, horizon), value=pad)

    def step(self, t: int, token_B: Tensor, uniform_B: Tensor | None) -> SampledToken:
        self.tokens_BL[torch.arange(len(token_B), device=token_B.device), self.length_B] = token_B
        self.length_B = self.length_B + 1
        return self.draw(self._read(self.tokens_BL, self.length_B), uniform_B)

    def select(self, rows: Tensor) -> None:
        self.tokens_BL, self.length_B = self.tokens_BL[rows], self.length_B[rows]

    def _read(self, tokens_BL: Tensor, length_B: Tensor) -> Tensor:
        """The logits after each row's last token, (B, V)."""
        width = int(length_B.max())
        attend_BL = torch.arange(width, device=length_B.device) < length_B[:, None]
        with self.lm.autocast():
            states = self.lm.module(
                input_ids=tokens_BL[:, :width], attention_mask=attend_BL.long(), use_cache=False
            ).last_hidden_state
            return self.lm.logits(states[torch.arange(len(states), device=states.device), length_B - 1])
