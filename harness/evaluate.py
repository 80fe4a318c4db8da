"""Points of the curve: the live model on every evaluation set, through lm-eval where it is installed.

An evaluation changes nothing in the run: its noise has streams of its own, it reads the model, and lm-eval's
reseeding is undone by the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.score import Completion, Decoding, Scores, available, score_direct, with_repeats
from harness.budget import Spend
from harness.meter import Meter
from harness.prompts import Encoder
from harness.record import Recorder
from harness.rollout import Sampler, Sampling

ENDS = ("0", "1")  # points: before training, and after it


class Evaluator:
    """Scores the sets `names` of a folder of task files (and lm-eval stock tasks, by name).

    `repeated` are those that hold each problem several times (name -> how often), for pass@k and maj@k: they are scored
    at the start and the end alone.  `keep` says of which points the outcomes are kept, problem by problem.
    """

    def __init__(
        self,
        sampler: Sampler,
        encoder: Encoder,
        folder: Path,
        names: Sequence[str],
        seed: int,
        repeated: Mapping[str, int] | None = None,
        keep: str = "all",
    ) -> None:
        self.sampler, self.encoder, self.folder, self.names, self.seed = sampler, encoder, folder, list(names), seed
        self.repeated, self.keep = dict(repeated or {}), keep
        self.tokens = 0  # generated so far; the meter's, never the budget's

    def generate(self, prompts: list[str], decoding: Decoding) -> list[Completion]:
        """One completion of each rendered prompt.  A stock task's prompt that is too long loses its head, as in
        lm-eval's `hf` model; prompts of our own were checked before the run."""
        room = self.encoder.context - decoding.max_new_tokens
        ids = [self.encoder.encode(p)[-room:] for p in prompts]
        sampling = Sampling(decoding.temperature, decoding.max_new_tokens, self.seed, decoding.stream, decoding.stop)
        done = self.sampler(ids, 1, sampling)
        self.tokens += int(done.length_N.sum())
        texts = self.sampler.texts(done, decoding.stop)
        return [Completion(t, e) for t, e in zip(texts, done.ended_N.tolist(), strict=True)]

    def scores(self, point: str) -> Scores:
        """Rows and outcomes; `point` names the outcome files, e.g. "0.5"."""
        outcomes = f"outcomes/{{task}}-{point}.jsonl.gz"
        names = [name for name in self.names if name not in self.repeated or point in ENDS]
        if available():
            from evals.lm_eval_bridge import score_lm_eval

            found = score_lm_eval(self.folder, names, self.generate, outcomes)
        else:
            found = score_direct(self.folder, names, self.generate, outcomes)
        for name in (name for name in names if name in self.repeated):
            found.rows[:] = with_repeats(found.rows, name, found.outcomes[name], self.repeated[name])
        return found

    def record(self, fraction: float, spend: Spend, meter: Meter, recorder: Recorder, number: int) -> list[Any]:
        """Score, and write rows and outcomes into the record."""
        point = f"{fraction:g}"
        with meter("eval") as phase:
            before = self.tokens
            found = self.scores(point)
            phase.tokens += self.tokens - before
        kept = self.keep == "all" or point in ENDS
        for name, outcomes in found.outcomes.items() if kept else ():
            recorder.outcomes(f"{name}-{point}", outcomes)
        unkept = {} if kept else {"outcomes": ""}
        rows = [{"fraction": fraction, "spend": spend.as_dict(), **row, **unkept} for row in found.rows]
        recorder.evaluation(number, rows)
        return rows
