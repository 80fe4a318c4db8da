"""The rollout engine with tools: tokens in, tokens out, over several turns.

A row is decoded until it closes a call; it then leaves the batch, which goes on without it, and its call is answered
meanwhile.  When all of a *wave* have ended or called, those that have their answer go on together as the next wave,
from their own tokens and the answer's: what was sampled is never decoded and tokenised again.  Which rows go together
does not depend on how long a tool took, so that a run that is resumed has the same bits.  There are at most
`tool.calls` + 1 waves.

A row's k-th *sampled* token is drawn with the k-th uniform of its completion, whatever was answered in between; rows
that call nothing have the tokens that they have without tools.

Shapes: N completions, T their columns (what tools answered among them), B rows of a wave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from evals.verification.transcript import Transcript, Turn
from harness.models.backbone import Autocast
from harness.processes.group import current
from harness.rollout.decoding import decode, with_opening_tag
from harness.rollout.sampler import Completions, Sampler, Sampling
from harness.rollout.tools.calls import Pending
from harness.rollout.tools.toolbox import Toolbox

Row = tuple[list[int], list[bool], int]  # tokens, which of them were sampled, how many there are
READ_AT_ONCE = 2**17  # tokens of earlier turns that one pass reads when a wave begins


class ToolSampler(Sampler):
    """A sampler whose policy may call tools."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        rows: int,
        autocast: Autocast,
        critic: nn.Module | None,
        toolbox: Toolbox,
    ) -> None:
        super().__init__(model, tokenizer, rows, autocast, critic)
        self.toolbox = toolbox

    def _sample(self, draws: Sequence[tuple[list[int], int]], group_size: int, sampling: Sampling) -> Completions:
        if not sampling.tools:
            return super()._sample(draws, group_size, sampling)
        prompts, device = [prompt for prompt, _ in draws], self.engine.device
        u_TN = self._uniforms(sampling, [ordinal for _, ordinal in draws], group_size)
        owner_N = torch.arange(len(prompts), device=device).repeat_interleave(group_size)
        written = Episodes(len(owner_N), sampling.max_new_tokens, self.toolbox.fields.room, self.pad, device)
        rows_B = torch.arange(len(owner_N), device=device)
        self._wave(written, rows_B, prompts, owner_N, sampling, u_TN)
        with self.engine.unfixed():
            while len(waiting := written.open()):
                for part in _parts(written.at_N[waiting].tolist(), prompts, owner_N[waiting].tolist()):
                    rows_B = waiting[part]
                    so_far = [prompts[owner_N[row]] + written.tokens(row) for row in rows_B.tolist()]
                    self._wave(written, rows_B, so_far, torch.arange(len(rows_B), device=device), sampling, u_TN)
        return written.completions()

    def _wave(
        self,
        written: Episodes,
        rows_B: Tensor,
        prompts: list[list[int]],
        owner_B: Tensor,
        sampling: Sampling,
        u_TN: Tensor | None,
    ) -> None:
        """Decode these rows until each has ended, been cut or called; then give the answers to those that called."""
        taken_B, pending = written.taken_N[rows_B], dict[int, Pending | None]()
        left_B, cut_B = sampling.max_new_tokens - taken_B, torch.zeros_like(rows_B, dtype=torch.bool)
        horizon, noise = int(left_B.max()), None
        if u_TN is not None:  # the spare row of the engine is the last
            place_TB = taken_B + torch.arange(horizon, device=rows_B.device)[:, None]
            u_TB = u_TN[place_TB.clamp(max=sampling.max_new_tokens - 1), rows_B]
            noise = torch.cat([u_TB, u_TB[:, :1]], 1)

        def ends(tokens_BT: Tensor, since: int, among_B: Tensor) -> Tensor:
            hits_BW = self._ends(tokens_BT, since, sampling)
            column_W = torch.arange(since, tokens_BT.shape[1], device=rows_B.device)
            last_BW = column_W + 1 >= left_B[among_B][:, None]
            cut_B[among_B] |= _first(last_BW) < _first(hits_BW)
            hits_BW = hits_BW | last_BW
            closing_BW = torch.isin(tokens_BT[:, since:], self._closing) & ~last_BW
            for place, w in closing_BW.nonzero().tolist():
                row = int(among_B[place])
                if hits_BW[place, :w].any() or row in pending:
                    continue
                if call := self.toolbox.call_in(tokens_BT[place, : since + w + 1].tolist()):
                    hits_BW[place, w] = True
                    cut_B[row] = False
                    more = int(written.calls_N[rows_B[row]]) < self.toolbox.fields.calls
                    pending[row] = self.toolbox.submit(call) if more else None
            return hits_BW

        done = self._decode(prompts, owner_B, sampling, horizon, noise, ends)
        refused = [row for row, call in pending.items() if call is None]
        cut_B[refused] = True
        written.append(rows_B, done, done.finished_N & ~cut_B)
        for row in sorted(row for row, call in pending.items() if call is not None):
            answering = pending[row]
            assert answering is not None
            written.answer(int(rows_B[row]), self.toolbox.tokens(answering.answer()))

    @property
    def _closing(self) -> Tensor:
        return torch.tensor(self.toolbox.closing, device=self.engine.device)

    def texts(self, completions: Completions, stop: tuple[str, ...] = ()) -> list[str]:
        """The policy's own words, cut before the first stop string, with the calls beside them."""
        if completions.sampled_NT is None:
            return super().texts(completions, stop)
        columns = (completions.tokens_NT, completions.sampled_NT, completions.length_N)
        rows: list[Row] = list(zip(*(x.tolist() for x in columns), strict=True))

        def read(mine: Sequence[Row]) -> list[str]:
            return [self._transcript(tokens[:n], sampled[:n], stop) for tokens, sampled, n in mine]

        return current().map(read, rows)

    def _transcript(self, tokens: list[int], sampled: list[bool], stop: tuple[str, ...]) -> Transcript:
        pieces = [(own, [token for token, _ in some]) for own, some in _runs(tokens, sampled)]
        text = "".join(decode(self.tokenizer, [piece for own, piece in pieces if own] or [[]]))
        turns: list[Turn] = []
        for (own, asked), (theirs, given) in zip(pieces, pieces[1:], strict=False):
            if own and not theirs:
                turns.append(self.toolbox.turn(self.toolbox.call_in(asked), given))
        for s in stop:
            text = text.split(s)[0]
        return Transcript(with_opening_tag(self.tokenizer, [text])[0], turns)


class Episodes:
    """The columns of N completions as they grow, sampled tokens and answers alike."""

    def __init__(self, rows: int, limit: int, room: int, pad: int, device: torch.device) -> None:
        self.limit, self.pad = limit, pad
        self.tokens_NT = torch.full((rows, limit + room), pad, device=device)
        self.sampled_NT = torch.zeros(rows, limit + room, dtype=torch.bool, device=device)
        self.at_N = torch.zeros(rows, dtype=torch.long, device=device)  # the next column
        self.taken_N, self.calls_N = torch.zeros_like(self.at_N), torch.zeros_like(self.at_N)
        self.finished_N = torch.zeros(rows, dtype=torch.bool, device=device)
        self.answered_N = torch.zeros_like(self.finished_N)  # has an answer, and has not gone on from it
        self.values: dict[str, Tensor] = {}  # log-probability, entropy, value

    def append(self, rows_B: Tensor, done: Completions, finished_B: Tensor) -> None:
        """What a wave has sampled."""
        column_W = torch.arange(done.tokens_NT.shape[1], device=rows_B.device)
        there_BW = column_W < done.length_N[:, None]
        row_K = rows_B[:, None].expand(there_BW.shape)[there_BW]
        place_K = (self.at_N[rows_B][:, None] + column_W)[there_BW]
        self.tokens_NT[row_K, place_K] = done.tokens_NT[there_BW]
        self.sampled_NT[row_K, place_K] = True
        for name in ("logp_NT", "entropy_NT", "value_NT"):
            if (x_BW := getattr(done, name)) is not None:
                held = self.values.setdefault(name, x_BW.new_zeros(self.tokens_NT.shape))
                held[row_K, place_K] = x_BW[there_BW]
        self.at_N[rows_B] += done.length_N
        self.taken_N[rows_B] += done.length_N
        self.finished_N[rows_B], self.answered_N[rows_B] = finished_B, False

    def answer(self, row: int, tokens: list[int]) -> None:
        """What a tool gave this row, which goes on."""
        at = int(self.at_N[row])
        self.tokens_NT[row, at : at + len(tokens)] = torch.tensor(tokens, device=self.tokens_NT.device)
        self.at_N[row] += len(tokens)
        self.calls_N[row] += 1
        self.finished_N[row], self.answered_N[row] = False, True

    def open(self) -> Tensor:
        """The rows that go on."""
        return self.answered_N.nonzero()[:, 0]

    def tokens(self, row: int) -> list[int]:
        return list(self.tokens_NT[row, : int(self.at_N[row])].tolist())

    def completions(self) -> Completions:
        width = int(self.at_N.max())
        columns = {name: x_NT[:, :width] for name, x_NT in self.values.items()}
        return Completions(
            self.tokens_NT[:, :width],
            length_N=self.at_N,
            finished_N=self.finished_N,
            sampled_NT=self.sampled_NT[:, :width],
            **columns,
        )


def _first(hits_BW: Tensor) -> Tensor:
    """The first column that is hit; the number of columns where none is."""
    found_B, first_B = hits_BW.max(1)
    return torch.where(found_B, first_B, hits_BW.shape[1])


def _runs(tokens: list[int], sampled: list[bool]) -> Iterator[tuple[bool, Iterator[tuple[int, bool]]]]:
    """The stretches that the policy sampled, and those that it was given."""
    return groupby(zip(tokens, sampled, strict=True), key=lambda pair: pair[1])


def _parts(lengths: list[int], prompts: list[list[int]], owners: list[int]) -> Iterator[slice]:
    """Neighbours whose earlier turns are at most READ_AT_ONCE tokens, or one row."""
    begin = read = 0
    for place, (length, owner) in enumerate(zip(lengths, owners, strict=True)):
        tokens = length + len(prompts[owner])
        if place > begin and read + tokens > READ_AT_ONCE:
            yield slice(begin, place)
            begin, read = place, 0
        read += tokens
    yield slice(begin, len(lengths))
