"""accepted.jsonl: what rejection sampling has kept, a line per completion, as a run's field `data` takes it.

    {"id": "3f2a", "prompt": "12-(5-3)+4=", "gold": "14", "completion": "<think>5-3=2,...</think>#### 14"}

Texts, not tokens: another model may read them, with another tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path

from evals.tasks.traces import ACCEPTED
from harness.records.io import write_text
from harness.rollout.decoding import decode, with_opening_tag
from harness.training.loop.protocol import TrainingLoop
from harness.training.offline import OfflineLoop


def write_accepted(loop: TrainingLoop, folder: Path) -> Path | None:
    """Write them, in the order in which they were sampled; no lines where nothing was kept.  A run that trains on what
    it accepts leaves none."""
    if not isinstance(loop, OfflineLoop) or loop.trainer.schedule.epochs:
        return None
    kept, tokenizer = loop.accepted(), loop.trainer.tokenizer.tokenizer
    texts = decode(tokenizer, [tokens for _, tokens in kept]) if kept else []
    for stop in loop.trainer.sampling.stop:
        texts = [text.split(stop)[0] for text in texts]
    lines = [
        json.dumps({"id": problem.id, "prompt": problem.prompt, "gold": problem.gold, "completion": text})
        for (problem, _), text in zip(kept, with_opening_tag(tokenizer, texts), strict=True)
    ]
    write_text(folder / ACCEPTED, "".join(f"{line}\n" for line in lines))
    return folder / ACCEPTED
