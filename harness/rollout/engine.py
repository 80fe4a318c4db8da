"""Where the tokens of a rollout are computed: one step for every row, eager or as captured CUDA graphs.

A step reads a token a row, writes its keys, and draws the next token.  On CUDA a step of a small model is a thousand
launches that take longer than their work; captured once for (rows, columns looked at), it is one.  Rows and
columns are rounded up so that few graphs serve all steps; what was rounded up to is masked, or ignored.

Shapes: P prompts, B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from algos import Rollouts
from harness.models.attention import attending
from harness.models.causal_lm import Autocast, CausalLM, positions
from harness.models.half_precision import autocast_dtype, half_precision_copy, matrix_bytes, refresh
from harness.models.limits import COLUMN_MULTIPLE, bucket
from harness.models.packing import Packed
from harness.rollout.kv_cache import Cache, Prefill
from harness.rollout.token_sampling import SampledToken, sample_token

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
        self.static = self.lm.packs and (on_cuda if static is None else static)
        self.sync_every = SYNC_EVERY if self.static else 1
        self.graphs = CudaGraphCache(capture=on_cuda)
        self.memory: Cache | None = None  # of the static decoders, kept: graphs write into it
        dtype = autocast_dtype(autocast, self.device)
        self.half_precision = None if dtype is None or not self.lm.packs else half_precision_copy(model, dtype)
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
            yield
        finally:
            self.model.train(training)

    def bucket(self, rows: int) -> int:
        """The rows that a step for so many has."""
        return bucket(rows) if self.static else rows

    def start(
        self, prompts: list[list[int]], owner_B: Tensor, horizon: int, temperature: float, pad: int
    ) -> tuple[Decoder, Tensor, Tensor | None]:
        """A decoder whose row i goes on from prompt owner_B[i]; the logits after each prompt, (P, V), and its value."""
        if not self.lm.packs:
            padded = PaddedDecoder(self.model, self.autocast, prompts, owner_B, pad, temperature)
            return padded, padded.logits_PV, None
        layout, state_PH = prefill(self.lm, prompts, pad, self.device)
        with self.autocast():
            logits_PV = self.lm.logits(state_PH)
        value_P = None if self.critic is None else self.critic(state_PH)
        if not self.static:
            cache = Cache(layout, owner_B, horizon)
            return PackedDecoder(self.lm, cache, temperature, critic=self.critic), logits_PV, value_P
        if self.memory is None or not self.memory.fits(layout, owner_B, horizon):
            self.memory, self.graphs = (
                Cache(layout, owner_B, horizon, COLUMN_MULTIPLE),
                CudaGraphCache(self.graphs.capture),
            )
        else:
            self.memory.refill(layout, owner_B)
        return PackedDecoder(self.lm, self.memory, temperature, self.graphs, self.critic), logits_PV, value_P


def prefill(lm: CausalLM, prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Prefill, Tensor]:
    """Each prompt once, without padding: what a cache begins with, and the state after each prompt, (P, hidden)."""
    packed = Packed.of(as_rollouts(prompts, pad, device))
    layout = Prefill(packed)
    with lm.autocast(), attending(lm.module, layout):
        states = lm.module(
            input_ids=packed.token_K[None], position_ids=packed.position_K[None], use_cache=False
        ).last_hidden_state[0]
    return layout, states.index_select(0, packed.state_M)


def as_rollouts(prompts: list[list[int]], pad: int, device: torch.device) -> Rollouts:
    """Prompts before a completion of one token, which is not read."""
    width = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (width - len(p)) + p + [pad] for p in prompts], device=device)
    attend = torch.tensor([[False] * (width - len(p)) + [True] * (len(p) + 1) for p in prompts], device=device)
    mask_PT = attend[:, width:]
    return Rollouts(
        tokens, attend, mask_PT, torch.zeros(mask_PT.shape, device=device), torch.arange(len(prompts), device=device)
    )


class PackedDecoder:
    """The rows of one rollout and the step that moves them all."""

    def __init__(
        self,
        lm: CausalLM,
        cache: Cache,
        temperature: float,
        graphs: CudaGraphCache | None = None,
        critic: nn.Module | None = None,
    ) -> None:
        self.lm, self.cache, self.temperature, self.graphs, self.critic = lm, cache, temperature, graphs, critic

    def step(self, t: int, token_B: Tensor, uniform_B: Tensor | None) -> SampledToken:
        """Read every row's token t, and draw what follows it."""
        inputs = [token_B, self.cache.places_B(t)[: len(token_B)], *([] if uniform_B is None else [uniform_B])]
        if self.graphs is None:
            self.cache.open(t)
            return self._move(*inputs)
        width = min(-(-(t + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE, self.cache.room)
        self.cache.open(t, width)
        return self.graphs.replay((len(token_B), width, self.temperature), self._move, inputs)

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
        drawn = sample_token(logits, self.temperature, uniform_B)
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


class PaddedDecoder:
    """Any causal LM by its own forward and transformers' cache: the way for architectures that cannot be read packed.

    Every prompt must own the same number of rows, in the order of the prompts."""

    def __init__(
        self, model: Any, autocast: Autocast, prompts: list[list[int]], owner_B: Tensor, pad: int, temperature: float
    ) -> None:
        self.model, self.autocast, self.temperature = model, autocast, temperature
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
        return sample_token(logits, self.temperature, uniform_B)

    def select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.attend = self.attend[rows]

    def _forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        with self.autocast():
            return self.model(  # type: ignore[no-any-return]
                input_ids=tokens,
                attention_mask=self.attend.long(),
                position_ids=places,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    @property
    def peak_bytes(self) -> int:
        return self.most

    def _bytes(self) -> int:
        held = [getattr(layer, name, None) for layer in self.cache.layers for name in ("keys", "values")]
        return sum(x.nbytes for x in held if isinstance(x, Tensor))
