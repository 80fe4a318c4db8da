"""Attention of our own in any transformers model: while `attending(model, layout)` holds, every attention layer asks
`layout` instead of the model's own kernel.

That is what lets one forward read prompts once per group without padding (`harness/models/packing.py`), and a decoded
token find its keys in memory that was laid out beforehand (`harness/rollout/kv_cache.py`).  A layout gets queries, keys
and values after the rotary embedding; masks are its own business, so the model builds none.

Shapes: B rows, H heads, K key heads, Q queries, C columns of keys, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "harness"


class Layout(Protocol):
    """Which keys each query sees."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, params: AttentionParams) -> Tensor:
        """(B, H, Q, D), (B, K, Q, D) twice -> (B, Q, H, D), as transformers' attention functions return it."""
        ...


class AttentionParams:
    """What a layer says of its own attention: the scale of the scores, a window, a soft cap on the scores."""

    def __init__(self, scale: float | None, window: int | None = None, softcap: float | None = None) -> None:
        self.scale, self.window, self.softcap = scale, window, softcap


_current: list[Layout] = []


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    if rest.get("s_aux") is not None or rest.get("position_bias") is not None:
        raise NotImplementedError("attention sinks and position biases are not read by the packed pass")
    kinds = getattr(getattr(module, "config", None), "layer_types", None)
    if kinds and kinds[module.layer_idx] not in ("full_attention", "sliding_attention"):  # type: ignore[index]
        raise NotImplementedError(f"{kinds[module.layer_idx]} is not read by the packed pass")  # type: ignore[index]
    # some layers (qwen2_moe's) leave the window to the mask, which is not built here: theirs is an attribute
    window = rest["sliding_window"] if "sliding_window" in rest else getattr(module, "sliding_window", None)
    params, dtype = AttentionParams(scaling, window, softcap), value.dtype
    query, key = query.to(dtype), key.to(dtype)  # under autocast the rotary embedding leaves them in fp32, and they
    # would be cast at every product: once is enough, half as much to keep, and what a kernel in 16 bits takes
    return _current[-1].attend(int(module.layer_idx), query, key, value, params), None  # type: ignore[arg-type]


AttentionInterface.register(NAME, _forward)


@contextmanager
def attending(model: Any, layout: Layout) -> Iterator[None]:
    """Attention by `layout` while the block runs."""
    configs = {id(c): c for c in (model.config, model.config.get_text_config())}.values()
    before = [c._attn_implementation for c in configs]
    for config in configs:
        config._attn_implementation = NAME
    _current.append(layout)
    try:
        yield
    finally:
        _current.pop()
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def held(model: Any) -> AbstractContextManager[None]:
    """What holds now, to hold again later: for a layer that is computed again in the backward pass."""
    return attending(model, _current[-1]) if _current else nullcontext()


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, params: AttentionParams) -> Tensor:
    """softmax(scale q k' + mask) v, with grouped key heads.  (B, H, Q, D) and (B, K, C, D) twice -> (B, H, Q, D).

    `mask` is additive or boolean, broadcast to (B, 1, Q, C).  A soft cap c makes each score s c tanh(s / c), before the
    mask.
    """
    fold = query.shape[1] // key.shape[1]
    if params.softcap is not None:
        return _capped(query, _repeat(key, fold), _repeat(value, fold), mask, params)
    sdpa = nn.functional.scaled_dot_product_attention
    if fold > 1 and query.shape[2] == 1:  # one query a row: the heads that share a key stand where queries do
        shape = query.shape
        folded = query.reshape(shape[0], key.shape[1], fold, shape[3])
        return sdpa(folded, key, value, attn_mask=mask, scale=params.scale).reshape(shape)
    if fold > 1:
        key, value = _repeat(key, fold), _repeat(value, fold)
    return sdpa(query, key, value, attn_mask=mask, scale=params.scale)


def varlen(
    query: Tensor, key: Tensor, value: Tensor, ends_Q: Tensor, ends_C: Tensor, widest: int, params: AttentionParams
) -> Tensor:
    """Causal attention of sequences that lie end to end, by torch's flash kernel: CUDA, 16 bits, no window, no cap.

    Sequence i has the queries ends_Q[i] .. ends_Q[i+1] and the keys ends_C[i] .. ends_C[i+1], and its last query sees
    all of them.  (queries, H, D), (keys, K, D) twice -> (queries, H, D).
    """
    if params.window is not None or params.softcap is not None:
        raise NotImplementedError("no window and no soft cap here")
    fold = query.shape[1] // key.shape[1]
    key, value = (x if fold == 1 else x.repeat_interleave(fold, 1) for x in (key, value))
    ends_Q, ends_C = ends_Q.int(), ends_C.int()
    return _kernel(query, key, value, ends_Q, ends_C, widest, widest, scale=params.scale)


def _kernel(*given: Any, scale: float | None) -> Tensor:
    """torch's, by whichever name this version has for a causal mask."""
    from torch.nn.attention.varlen import varlen_attn

    causal = (
        {"is_causal": True} if "is_causal" in inspect.signature(varlen_attn).parameters else {"window_size": (-1, 0)}
    )
    return varlen_attn(*given, scale=scale, **causal)  # type: ignore[return-value, arg-type]


def _repeat(x: Tensor, fold: int) -> Tensor:
    """Each key head `fold` times in a row."""
    return x if fold == 1 else x.repeat_interleave(fold, 1)


def _capped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, params: AttentionParams) -> Tensor:
    """Gemma 2's attention, written out: no fused kernel has the cap."""
    assert params.softcap is not None
    scale = params.scale if params.scale is not None else query.shape[-1] ** -0.5
    scores = params.softcap * torch.tanh(query @ key.transpose(2, 3) * scale / params.softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(value.dtype) @ value
