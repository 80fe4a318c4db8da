"""What is compared in a pipeline: every stage with the one before it, and its end with each control.  One family."""

from __future__ import annotations

from dataclasses import dataclass

from evals.statistics.comparison import Comparison, Paired, compare_pairs, crossed, paired
from harness.pipelines.results import PipelineResults

START = "start"
AHEAD, BEHIND = "ahead, within the margin", "behind, within the margin"
WORDS = {"A better": "better", "A ahead": AHEAD, "B better": "worse", "B ahead": BEHIND}


@dataclass(frozen=True)
class Contrast:
    """`a` against `b`; `brought` where they are a stage and the one before it."""

    a: str
    b: str
    brought: bool
    comparison: Comparison

    @property
    def verdict(self) -> str:
        c = self.comparison
        return c.pair.why or WORDS.get(c.kind, c.kind)


def contrasts(results: PipelineResults) -> list[Contrast]:
    """Over seeds and problems where outcomes are kept, else over seeds."""
    trained = [stage.name for stage in results.trained]
    named = [(a, b, True) for a, b in zip(trained, [START, *trained], strict=False)]
    named += [(trained[-1], control.name, False) for control in results.pipeline.controls]
    pairs = [_pair(results, a, b) for a, b, _ in named]
    compared = compare_pairs(pairs, results.pipeline.margin / 100)
    return [Contrast(*name, c) for name, c in zip(named, compared, strict=True)]


def _pair(results: PipelineResults, a: str, b: str) -> Paired:
    first = results.trained[0].name
    at_a, at_b = (a, 1.0), (first, 0.0) if b == START else (b, 1.0)
    hits = [results.hit_SI(stage, results.endpoint, fraction) for stage, fraction in (at_a, at_b)]
    if hits[0].shape == hits[1].shape and hits[0].size:
        return crossed(*hits)
    return paired(*(results.value_S(stage, results.endpoint, fraction) for stage, fraction in (at_a, at_b)))
