"""Where the tokens of a rollout are computed: one step for every row, eager or as captured CUDA graphs.

A step reads a token a row, writes its keys, and draws the next token.  On CUDA a step of a small model is a thousand
launches that take longer than their work; captured once for (rows, columns looked at), it is one.  Rows and
columns are rounded up so that few graphs serve all steps; what was rounded up to is masked, or ignored.

Shapes: P prompts, B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from harness.models.attention import attending
from harness.models.backbone import Autocast
from harness.models.causal_lm import CausalLM
from harness.models.half_precision import (
    autocast_dtype,
    computes_with_weights,
    half_precision_copy,
    matrix_bytes,
    refresh,
)
from harness.models.limits import COLUMN_MULTIPLE, bucket
from harness.models.packing import Packed
from harness.models.parallel.sharding import gathered, sharded
from harness.rollout.kv_cache import Cache, Prefill
from harness.rollout.padded_decoding import CachedDecoder, UncachedDecoder, as_rollouts
from harness.rollout.token_sampling import Draw, SampledToken

Decoding = Literal["packed", "cached", "uncached"]  # by a cache of our own, by transformers', by whole passes

SYNC_EVERY = 16  # tokens between two looks for rows that have ended, where a look makes the host wait for the device


class Decoder(Protocol):
    """The rows of one rollout and the step that moves them all."""

    @property
    def peak_bytes(self) -> int:
        """Of keys and values."""
        ...

    def step(self, t: int, token_B: Tensor, uniform_B: Tensor | None) -> SampledToken:
        """Read every row's token t, and draw what follows it."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        ...


class Engine:
    """Decoders for one model.  `static`: rows and columns of a few sizes, as graphs need them (default: on CUDA)."""

    def __init__(
        self,
        model: Any,
        autocast: Autocast = nullcontext,
        static: bool | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        """`critic`: a value head on the model's own states, whose word on each state is drawn along with the token."""
        self.model, self.autocast, self.critic = model, autocast, critic
        self.device: torch.device = model.get_output_embeddings().weight.device
        on_cuda = self.device.type == "cuda"
        self.lm = CausalLM(model, autocast)
        self.decoding: Decoding = "packed" if self.lm.packs else self._try()
        self.static = self.lm.packs and (on_cuda if static is None else static)
        if sharded(model):  # gathered anew each time, elsewhere: graphs would read where weights were
            self.static = False
        self.sync_every = SYNC_EVERY if self.static else 1
        self.graphs = CudaGraphCache(capture=on_cuda)
        self.memory: Cache | None = None  # of the static decoders, kept: graphs write into it
        dtype = None if sharded(model) else autocast_dtype(autocast, self.device)
        copied = dtype is not None and self.lm.packs and not computes_with_weights(model)
        self.half_precision = half_precision_copy(model, dtype) if copied and dtype is not None else None
        if self.half_precision is not None:
            self.lm = CausalLM(self.half_precision, autocast)

    @property
    def half_precision_bytes(self) -> int:
        """Of the weights that decoding holds beside the model's."""
        return 0 if self.half_precision is None else matrix_bytes(self.half_precision)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """While this holds, the engine decodes with the model's weights as they are now, dropout off."""
        training = self.model.training
        self.model.eval()
        if self.half_precision is not None:
            refresh(self.half_precision, self.model)
        try:
            with gathered(self.model):
                yield
        finally:
            self.model.train(training)

    @contextmanager
    def unfixed(self) -> Iterator[None]:
        """While this holds, memory and steps are as many as the rows at hand: of rows that come together once, no
        graph would serve a second time."""
        fixed = self.static, self.sync_every
        self.static, self.sync_every = False, 1
        try:
            yield
        finally:
            self.static, self.sync_every = fixed

    def fall_back(self, decoding: Decoding) -> None:
        """Decode in rows with padding from now on: slower, and no less right."""
        self.decoding, self.lm = decoding, CausalLM(self.model, self.autocast)
        self.lm.packs = self.lm.varlen = self.static = False
        self.sync_every, self.memory, self.half_precision = 1, None, None

    def _try(self) -> Decoding:
        """Does transformers' cache give what whole passes give, a few tokens on?"""
        prompts, owner_B = [[3, 4, 5, 6, 7], [8, 9]], torch.tensor([0, 0, 1, 1], device=self.device)
        read: list[tuple[Tensor, Tensor]] = []
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                for kind in ("uncached", "cached"):
                    decoder = self._padded(kind, prompts, owner_B, 4, Draw(0.0), 0)  # type: ignore[arg-type]
                    drawn = [decoder.step(t, torch.full_like(owner_B, 10 + t), None) for t in range(4)]
                    read.append((torch.stack([d[0] for d in drawn]), torch.stack([d[1] for d in drawn])))
        except Exception:  # a cache of the architecture's own may fail in any way
            return "uncached"
        finally:
            self.model.train(training)
        (token, logp), (cached_token, cached_logp) = read
        apart = float((logp - cached_logp).abs().max())
        if autocast_dtype(self.autocast, self.device) is not None:  # in 16 bits two tokens may be as likely
            return "cached" if apart <= 0.3 else "uncached"
        return "cached" if apart <= 1e-3 and torch.equal(token, cached_token) else "uncached"

    def _padded(
        self, decoding: Decoding, prompts: list[list[int]], owner_B: Tensor, horizon: int, draw: Draw, pad: int
    ) -> CachedDecoder | UncachedDecoder:
        if decoding == "cached":
            return CachedDecoder(self.model, self.autocast, prompts, owner_B, pad, draw)
        return UncachedDecoder(self.lm, prompts, owner_B, horizon, pad, draw)

    def bucket(self, rows: int) -> int:
        """The rows that a step for so many has."""
        return bucket(rows) if self.static else rows

    def start(
        self, prompts: list[list[int]], owner_B: Tensor, horizon: int, draw: Draw, pad: int
    ) -> tuple[Decoder, Tensor, Tensor | None]:
        """A decoder whose row i goes on from prompt owner_B[i]; the logits after each prompt, (P, V), and its value."""
        if self.decoding != "packed":
            padded = self._padded(self.decoding, prompts, owner_B, horizon, draw, pad)
            return padded, padded.logits_PV, None
        layout, state_PH = prefill(self.lm, prompts, pad, self.device)
        with self.autocast():
            logits_PV = self.lm.logits(state_PH)
        value_P = None if self.critic is None else self.critic(state_PH)
        if not self.static:
            cache = Cache(layout, owner_B, horizon)
            return PackedDecoder(self.lm, cache, draw, critic=self.critic), logits_PV, value_P
        if self.memory is None or not self.memory.fits(layout, owner_B, horizon):
            self.memory, self.graphs = (
                Cache(layout, owner_B, horizon, COLUMN_MULTIPLE),
                CudaGraphCache(self.graphs.capture),
            )
        else:
            self.memory.refill(layout, owner_B)
        return PackedDecoder(self.lm, self.memory, draw, self.graphs, self.critic), logits_PV, value_P


def prefill(lm: CausalLM, prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Prefill, Tensor]:
    """Each prompt once, without padding: what a cache begins with, and the state after each prompt, (P, hidden)."""
    packed = Packed.of(as_rollouts(prompts, pad, device))
    layout = Prefill(packed)
    with lm.autocast(), attending(lm.module, layout):
        states = lm.module(
            input_ids=packed.token_K[None], position_ids=packed.position_K[None], use_cache=False
        ).last_hidden_state[0]
    return layout, states.index_select(0, packed.state_M)


class PackedDecoder:
    """The rows of one rollout and the step that moves them all."""

    def __init__(
        self,
        lm: CausalLM,
        cache: Cache,
        draw: Draw,
        graphs: CudaGraphCache | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        self.lm, self.cache, self.draw, self.graphs, self.critic = lm, cache, draw, graphs, critic

    def step(self, t: int, token_B: Tensor, uniform_B: Tensor | None) -> SampledToken:
        """Read every row's token t, and draw what follows it."""
        inputs = [token_B, self.cache.places_B(t)[: len(token_B)], *([] if uniform_B is None else [uniform_B])]
        if self.graphs is None:
            self.cache.open(t)
            return self._move(*inputs)
        width = min(-(-(t + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE, self.cache.room)
        self.cache.open(t, width)
        return self.graphs.replay((len(token_B), width, self.draw), self._move, inputs)

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)

    @property
    def peak_bytes(self) -> int:
        return self.cache.peak_bytes

    def _move(self, token_B: Tensor, place_B: Tensor, uniform_B: Tensor | None = None) -> SampledToken:
        self.cache.hidden.clear()
        with self.lm.autocast(), attending(self.lm.module, self.cache):
            states = self.lm.module(
                input_ids=token_B[:, None], position_ids=place_B[:, None], use_cache=False
            ).last_hidden_state[:, 0]
            logits = self.lm.logits(states)
        drawn = self.draw(logits, uniform_B)
        return drawn if self.critic is None else (*drawn, self.critic(states))


class CudaGraphCache:
    """Steps captured once and replayed.  `capture=False`: the same buffers without a graph, as CPU tests see them."""

    def __init__(self, capture: bool) -> None:
        self.capture, self.pool = capture, torch.cuda.graph_pool_handle() if capture else None
        self.steps: dict[Any, tuple[Callable[[], None], list[Tensor], list[Tensor]]] = {}

    def replay(self, key: Any, move: Callable[..., SampledToken], inputs: list[Tensor]) -> SampledToken:
        if key not in self.steps:
            self.steps[key] = self._captured(move, inputs)
        run, buffers, outputs = self.steps[key]
        for buffer, x in zip(buffers, inputs, strict=True):
            buffer.copy_(x)
        run()
        return tuple(outputs)

    def _captured(
        self, move: Callable[..., SampledToken], inputs: list[Tensor]
    ) -> tuple[Callable[[], None], list[Tensor], list[Tensor]]:
        buffers = [x.clone() for x in inputs]
        # also the warm-up that a capture needs: libraries set themselves up
        outputs = [x.clone() for x in move(*buffers)]

        def run() -> None:
            for buffer, x in zip(outputs, move(*buffers), strict=True):
                buffer.copy_(x)

        if not self.capture:
            return run, buffers, outputs
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):  # they run one after another, and leave nothing there
            run()
        return graph.replay, buffers, outputs
