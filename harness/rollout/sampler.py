"""The rollout engine: prompts -> completions, with the sampler's own log-probabilities.

Each prompt is read once and its keys handed to its G rows; rows that have ended are compacted away;
a token is drawn by inverting the cumulative distribution at a uniform that belongs to (seed, stream, ordinal,
completion, position) alone (`harness/rollout/rng.py`).  So the tokens do not depend on batch size, order,
padding or compaction; log-probabilities agree within 1e-5 in fp32 (masked one-token attention is not
bit-identical across widths).

Shapes: P prompts, G completions per prompt, N = P*G, S whole sequence, T completion tokens, B rows decoded at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.models.backbone import Autocast
from harness.processes.group import current
from harness.rollout import rng
from harness.rollout.decoding import decode, with_opening_tag
from harness.rollout.engine import Decoder, Engine
from harness.rollout.token_sampling import Draw, SampledToken

Ends = Callable[[Tensor, int, Tensor], Tensor]  # (tokens, first new column, their rows) -> where they end


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.  Temperature 0 is greedy.  No truncation (top-p, top-k): the distribution that
    is sampled from is the one whose log-probabilities are stored."""

    temperature: float
    max_new_tokens: int
    seed: int = 0
    stream: str = "train"
    stop: tuple[str, ...] = ()
    plain: bool = False  # log-probabilities at temperature 1, whatever tokens are drawn at
    tools: bool = True  # may the policy call the tools that its sampler has?


@dataclass(frozen=True)
class Completions:
    """N completions, in the order of the prompts, G for each.

    Two completions of one prompt, cut at 3 tokens, 9 the end token:
    tokens_NT [[8, 9, 0], [7, 7, 7]], length_N [2, 3], finished_N [True, False].
    """

    tokens_NT: Tensor  # int64; the pad token after the end
    logp_NT: Tensor  # at least fp32; 0 after the end
    entropy_NT: Tensor  # of the distribution each token was drawn from, in nats; 0 after the end
    length_N: Tensor  # int64, the end token counted, and what tools answered
    finished_N: Tensor  # bool; False where the token limit cut it
    value_NT: Tensor | None = None  # of the state each token was drawn in; None without a value model in the engine
    sampled_NT: Tensor | None = None  # bool; 0 where a tool answered, and after the end; None: no tool ever did

    def to(self, device: torch.device | str) -> Completions:
        return Completions(*(None if x is None else x.to(device) for x in vars(self).values()))  # type: ignore[arg-type]


def left_pad(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """tokens_PL and attend_PL (bool) with the padding on the left."""
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(r)) + r for r in rows])
    attend = torch.tensor([[False] * (width - len(r)) + [True] * len(r) for r in rows])
    return tokens, attend


class Sampler:
    """Generates with a transformers causal LM.  It reads the model and changes nothing in it."""

    COMPACT = 0.8  # gather the live rows into a smaller cache when no more than this share is still live

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        rows: int = 2048,
        autocast: Autocast = nullcontext,
        critic: nn.Module | None = None,
    ) -> None:
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        self.engine = Engine(model, autocast, critic=critic)
        ends = getattr(model.generation_config, "eos_token_id", None)
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if tokenizer.eos_token_id is not None:
            ends.append(tokenizer.eos_token_id)
        self.ends = sorted(set(ends))
        self.peak_cache_bytes = 0  # of keys and values, over all that was generated so far
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self.ends or [0])[0]

    @torch.inference_mode()
    def __call__(
        self,
        prompts: list[list[int]],
        group_size: int,
        sampling: Sampling,
        ordinals: list[int] | None = None,
        rows: int | None = None,
    ) -> Completions:
        """G completions of each prompt.  `ordinals` names each prompt's draw (default: its place in the list).

        At most `rows` completions are decoded at once (default: the sampler's); the result does not depend on it.  Of
        several processes each decodes the groups of its share of the prompts, and all get all of them.
        """
        draws = list(zip(prompts, range(len(prompts)) if ordinals is None else ordinals, strict=True))
        step = max(1, (rows or self.rows) // group_size)

        def decoded(mine: Sequence[tuple[list[int], int]]) -> list[Completions]:
            parts = [self._sample(mine[i : i + step], group_size, sampling) for i in range(0, len(mine), step)]
            return parts if current().size == 1 else [part.to("cpu") for part in parts]

        with self.engine.ready():
            parts = [part.to(self.engine.device) for part in current().map(decoded, draws)]
        width = max(int(p.length_N.max()) for p in parts)

        def optional(columns: list[Tensor | None]) -> Tensor | None:
            return None if columns[0] is None else torch.cat([_fit(x, width, 0) for x in columns if x is not None])

        return Completions(
            torch.cat([_fit(p.tokens_NT, width, self.pad) for p in parts]),
            torch.cat([_fit(p.logp_NT, width, 0) for p in parts]),
            torch.cat([_fit(p.entropy_NT, width, 0) for p in parts]),
            torch.cat([p.length_N for p in parts]),
            torch.cat([p.finished_N for p in parts]),
            optional([p.value_NT for p in parts]),
            optional([p.sampled_NT for p in parts]),
        )

    def _sample(self, draws: Sequence[tuple[list[int], int]], group_size: int, sampling: Sampling) -> Completions:
        prompts, ordinals = [prompt for prompt, _ in draws], [ordinal for _, ordinal in draws]
        u_TN = self._uniforms(sampling, ordinals, group_size)
        owner_N = torch.arange(len(prompts), device=self.engine.device).repeat_interleave(group_size)

        def ends(tokens_BT: Tensor, since: int, rows_B: Tensor) -> Tensor:
            return self._ends(tokens_BT, since, sampling)

        return self._decode(prompts, owner_N, sampling, sampling.max_new_tokens, u_TN, ends)

    def _decode(
        self,
        prompts: list[list[int]],
        owner_N: Tensor,
        sampling: Sampling,
        horizon: int,
        u_TN: Tensor | None,
        ends: Ends,
    ) -> Completions:
        """Row i goes on from prompt owner_N[i], for `horizon` tokens at most, until `ends` says that it ends."""
        engine, rows, draw = self.engine, len(owner_N), Draw(sampling.temperature, sampling.plain)
        live = torch.arange(rows, device=engine.device)
        live = torch.cat([live, live.new_full((engine.bucket(rows) - rows,), rows)])  # idle rows write to a spare one
        owner_B = torch.cat([owner_N, owner_N[:1]])[live]
        decoder, logits_PV, value_P = engine.start(prompts, owner_B, horizon, draw, self.pad)
        drawn = draw(logits_PV[owner_B], None if u_TN is None else u_TN[0, live])
        if value_P is not None:
            drawn = (*drawn, value_P[owner_B])
        written = OutputBuffer(rows, horizon, self.pad, drawn)
        for t in range(horizon):
            written.write(live, t, drawn)
            if (t + 1) % engine.sync_every == 0 or t + 1 == horizon:
                written.settle(t + 1, ends)
                live = self._compacted(decoder, live, written.finished_N)
                if not len(live) or t + 1 == horizon:
                    break
            drawn = decoder.step(t, written.tokens_NT[live, t], None if u_TN is None else u_TN[t + 1, live])
        self.peak_cache_bytes = max(self.peak_cache_bytes, decoder.peak_bytes)
        return written.completions()

    def _compacted(self, decoder: Decoder, live: Tensor, finished_N: Tensor) -> Tensor:
        """The rows to continue: those not finished, and idle ones up to a size that the engine has steps for."""
        ended_B = finished_N[live]
        left = int((~ended_B).sum())
        if left == 0:
            return live[:0]
        room = self.engine.bucket(left)
        if room > (self.COMPACT * len(live) if room == left else len(live) - 1):
            return live
        keep = torch.argsort(ended_B.int(), stable=True)[:room]
        decoder.select(keep)
        return live[keep]

    def _uniforms(self, sampling: Sampling, ordinals: list[int], group_size: int) -> Tensor | None:
        """(T, N + 1): the last column is the spare row's."""
        if sampling.temperature == 0:
            return None
        rows = [(o, g) for o in ordinals for g in range(group_size)]
        drawn = rng.uniforms(
            sampling.seed, sampling.stream, [o for o, _ in rows], [g for _, g in rows], sampling.max_new_tokens
        )
        return torch.from_numpy(np.vstack([drawn, drawn[:1]]).T.copy()).to(self.engine.device)

    def _ends(self, tokens_BT: Tensor, since: int, sampling: Sampling) -> Tensor:
        """Where rows end, from column `since` on: at an end token, or as soon as they contain a stop string.

        Only the tail that a new token can complete is decoded.  (B, T - since).
        """
        ends_BW = torch.isin(tokens_BT[:, since:], torch.tensor(self.ends, device=tokens_BT.device))
        if sampling.stop:
            tail = 2 + max(len(s.encode()) for s in sampling.stop)
            for t in range(since + 1, tokens_BT.shape[1] + 1):
                texts = self.tokenizer.batch_decode(tokens_BT[:, max(0, t - tail) : t], skip_special_tokens=True)
                hits = [any(s in text for s in sampling.stop) for text in texts]
                ends_BW[:, t - since - 1] |= torch.tensor(hits, device=tokens_BT.device)
        return ends_BW

    def texts(self, completions: Completions, stop: tuple[str, ...] = ()) -> list[str]:
        """Decoded completions, without special tokens except reasoning tags, cut before the first stop string.

        What a chat template that opens the reasoning itself has left open begins with its tag: it is no answer.
        """
        rows = [row[:n] for row, n in zip(completions.tokens_NT.tolist(), completions.length_N.tolist(), strict=True)]
        texts = current().map(lambda mine: decode(self.tokenizer, mine), rows)
        for s in stop:
            texts = [text.split(s)[0] for text in texts]
        return with_opening_tag(self.tokenizer, texts)


class OutputBuffer:
    """The tokens sampled so far.  Row N is a spare one: idle rows write to it, and it is never read.

    Rows may be written beyond their end until the next check; `completions` cuts them."""

    def __init__(self, rows: int, horizon: int, pad: int, like: SampledToken) -> None:
        self.pad, self.settled = pad, 0
        self.tokens_NT = like[0].new_full((rows + 1, horizon), pad)
        self.values = [x_B.new_zeros(rows + 1, horizon) for x_B in like[1:]]  # log-probability, entropy, value
        self.length_N = like[0].new_zeros(rows + 1)
        self.finished_N = torch.zeros_like(self.length_N, dtype=torch.bool)
        self.finished_N[rows] = True

    def write(self, live: Tensor, t: int, drawn: SampledToken) -> None:
        for x_NT, x_B in zip((self.tokens_NT, *self.values), drawn, strict=True):
            x_NT[live, t] = x_B

    def settle(self, upto: int, ends: Ends) -> None:
        """Look at the columns since the last time, up to `upto`, for the first end in each."""
        open_ = (~self.finished_N).nonzero()[:, 0]
        hits_BW = ends(self.tokens_NT[open_, :upto], self.settled, open_)
        ended_B, first_B = hits_BW.max(1)
        self.finished_N[open_] = ended_B
        self.length_N[open_] = torch.where(ended_B, self.settled + first_B + 1, upto)
        self.settled = upto

    def completions(self) -> Completions:
        length_N, finished_N = self.length_N[:-1], self.finished_N[:-1]
        width = int(length_N.max())
        there_NT = torch.arange(width, device=length_N.device) < length_N[:, None]
        tokens_NT = torch.where(there_NT, self.tokens_NT[:-1, :width], self.pad)
        logp_NT, entropy_NT, *value = (torch.where(there_NT, x_NT[:-1, :width], 0) for x_NT in self.values)
        return Completions(tokens_NT, logp_NT, entropy_NT, length_N, finished_N, *value)


def _fit(x_NT: Tensor, width: int, fill: float) -> Tensor:
    """Cut or pad the columns to `width`."""
    if x_NT.shape[1] >= width:
        return x_NT[:, :width]
    return torch.nn.functional.pad(x_NT, (0, width - x_NT.shape[1]), value=fill)
