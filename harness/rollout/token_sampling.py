"""Drawing a token by inverting a cumulative distribution.

Shapes: B rows, V vocabulary, cut into K blocks of S.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

SampledToken = tuple[
    Tensor, ...
]  # next token, its log-probability, the entropy it was drawn at; from engines also its value


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn: called with logits and uniforms.  `plain`: log-probabilities are at temperature 1."""

    temperature: float
    plain: bool = False

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor | None) -> SampledToken:
        return sample_token(logits_BV, self.temperature, uniform_B, self.plain)


CACHED = 2**20  # logits that are drawn from at once on the CPU: ten passes over them find them in its cache


def sample_token(logits_BV: Tensor, temperature: float, uniform_B: Tensor | None, plain: bool = False) -> SampledToken:
    """Next token, its log-probability under the distribution it was drawn from, and that one's entropy.  (B,) each.

    `plain`: its log-probability at temperature 1, whatever it was drawn at.

    token = min{v : cdf(v) > u}.  The cdf is summed in float64, so that its rounding does not move with the batch: first
    over blocks of the vocabulary, then inside the block that u falls into.
    Greedy (temperature 0) takes the most likely token and gives its log-probability at temperature 1.
    Rows know nothing of one another: of a large vocabulary only some are drawn at a time, the same tokens.
    """
    rows = max(8, CACHED // logits_BV.shape[1])
    if logits_BV.is_cuda or len(logits_BV) <= rows:
        return _sample(logits_BV, temperature, uniform_B, plain)
    uniforms = [None] * len(logits_BV) if uniform_B is None else uniform_B.split(rows)
    parts = [_sample(x, temperature, u, plain) for x, u in zip(logits_BV.split(rows), uniforms, strict=False)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _sample(logits_BV: Tensor, temperature: float, uniform_B: Tensor | None, plain: bool) -> SampledToken:
    logits_BV = logits_BV.to(torch.promote_types(logits_BV.dtype, torch.float32))
    logp_BV = torch.log_softmax(logits_BV / temperature if temperature not in (0.0, 1.0) else logits_BV, dim=-1)
    p_BV = logp_BV.exp()
    entropy_B = -(p_BV * logp_BV).sum(-1)
    if temperature == 0:
        token_B = logp_BV.argmax(-1)
    else:
        assert uniform_B is not None
        token_B = inverse_cdf(p_BV, uniform_B)
    if plain and temperature not in (0.0, 1.0):
        logp_BV = torch.log_softmax(logits_BV, dim=-1)
    return token_B, logp_BV.gather(1, token_B[:, None])[:, 0], entropy_B


def inverse_cdf(p_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """min{v : cdf(v) > u cdf(V)}.  (B,)."""
    rows, words = p_BV.shape
    size = max(1, int(words**0.5))
    p_BKS = nn.functional.pad(p_BV, (0, -words % size)).view(rows, -1, size)
    upto_BK = p_BKS.sum(-1, dtype=torch.float64).cumsum(-1)
    target_B1 = (uniform_B.double() * upto_BK[:, -1])[:, None]
    block_B1 = torch.minimum(torch.searchsorted(upto_BK, target_B1, right=True), _last(upto_BK))
    before_B1 = torch.where(block_B1 > 0, upto_BK.gather(1, (block_B1 - 1).clamp(min=0)), 0)
    inside_BS = p_BKS.gather(1, block_B1[:, :, None].expand(-1, -1, size))[:, 0].double().cumsum(-1)
    place_B1 = torch.minimum(torch.searchsorted(inside_BS, target_B1 - before_B1, right=True), _last(inside_BS))
    return (block_B1 * size + place_B1)[:, 0]


def _last(cdf: Tensor) -> Tensor:
    """The last step of a cumulative sum that adds anything: rounding must not carry a draw past it."""
    return (cdf < cdf[:, -1:]).sum(-1, keepdim=True)
