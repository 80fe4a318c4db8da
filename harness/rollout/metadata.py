"""What is known of a rollout's prompts besides their text: `Rollouts.metadata`, a row per completion.

`problem` (its identity), `round`, and where the task declares them (`Task.metadata`) `difficulty`, `features` (all its
numbers, in the order of their names) and `source` (a name).  Lengths, rewards and groups are in the rollouts
themselves.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem, Task
from harness.models.causal_lm import CausalLM


def hashed(text: str) -> int:
    """The same 62 bits for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2


def with_metadata(rollouts: Rollouts, owners: Sequence[Problem], task: Task, number: int) -> Rollouts:
    """Rollouts with what is known of their problems (`owners[i]` of completion i); what is there already is kept.

    `number` is the round's.  Raises ValueError where a task declares a problem's numbers differently from another's.
    """
    device = rollouts.tokens_NS.device
    declared = {p.id: task.metadata(p) for p in owners}
    known: dict[str, Tensor] = {
        "problem": torch.tensor([hashed(p.id) for p in owners], device=device),
        "round": torch.full((len(owners),), number, device=device),
    }
    names = {tuple(sorted(k for k, v in m.items() if not isinstance(v, str))) for m in declared.values()}
    if len(names) > 1:
        raise ValueError(f"task: '{task.name}' gives some problems other metadata than others: {sorted(names)[:2]}")
    numbers = next(iter(names), ())
    if numbers:
        rows = [[float(declared[p.id][name]) for name in numbers] for p in owners]
        known["features"] = torch.tensor(rows, dtype=torch.float64, device=device)
    if "difficulty" in numbers:
        known["difficulty"] = known["features"][:, numbers.index("difficulty")]
    if all("source" in m for m in declared.values()):
        known["source"] = torch.tensor([hashed(str(declared[p.id]["source"])) for p in owners], device=device)
    return replace(rollouts, metadata={**known, **rollouts.metadata})


WORDS = 256  # places that words and pairs of words are hashed to


def text_embedding(text: str) -> list[float]:
    """Counts of a text's words and pairs of neighbours, hashed to WORDS places, of length 1 (0 for a text without)."""
    words = re.findall(r"[^\W\d_]+|\d", text.lower())
    counts = [0.0] * WORDS
    for piece in [*words, *map(" ".join, itertools.pairwise(words))]:
        counts[zlib.crc32(piece.encode()) % WORDS] += 1
    length = math.sqrt(sum(x * x for x in counts)) or 1.0
    return [x / length for x in counts]


def with_text(rollouts: Rollouts, owners: Sequence[Problem]) -> Rollouts:
    """Rollouts with the text embedding of each completion's prompt."""
    known = {p.id: text_embedding(p.prompt) for p in owners}
    rows = torch.tensor([known[p.id] for p in owners], dtype=torch.float64, device=rollouts.tokens_NS.device)
    return replace(rollouts, metadata={**rollouts.metadata, "text": rows})


@torch.inference_mode()
def completion_embeddings(lm: CausalLM, rollouts: Rollouts) -> Tensor:
    """The last layer's states that foresaw a completion's tokens, averaged over them.  (N, E); without a token 0.

    One completion at a time, so that an embedding does not depend on which others there are.
    """
    means: list[Tensor] = []
    for i in range(len(rollouts.group_N)):
        states_MH = lm.hidden_states(rollouts.take(torch.tensor([i], device=rollouts.group_N.device))).state_MH
        means.append(states_MH.float().mean(0) if len(states_MH) else states_MH.float().sum(0))
    return torch.stack(means).clone()


@torch.inference_mode()
def prompt_embeddings(lm: CausalLM, rollouts: Rollouts) -> tuple[Tensor, list[int]]:
    """The last layer's states, averaged over each prompt's tokens but the last, and the prompts' lengths.  (P, E).

    One prompt at a time, so that an embedding does not depend on which others there are.  A prompt of one token: 0.
    """
    width = rollouts.completion_mask_NT.shape[1]
    embeddings: list[Tensor] = []
    lengths: list[int] = []
    for g in range(int(rollouts.group_N.max()) + 1):
        row = int((rollouts.group_N == g).nonzero()[0, 0])
        tokens = rollouts.tokens_NS[row, : rollouts.tokens_NS.shape[1] - width]
        tokens_1S = tokens[rollouts.attention_mask_NS[row, : len(tokens)]][None]
        lengths.append(tokens_1S.shape[1])
        read = Rollouts(
            tokens_NS=tokens_1S,
            attention_mask_NS=torch.ones_like(tokens_1S, dtype=torch.bool),
            completion_mask_NT=torch.ones_like(tokens_1S[:, 1:], dtype=torch.bool),
            logp_NT=torch.zeros(tokens_1S[:, 1:].shape, device=tokens_1S.device),
            group_N=torch.zeros(1, dtype=torch.int64, device=tokens_1S.device),
        )
        states_MH = lm.hidden_states(read).state_MH
        embeddings.append(states_MH.float().mean(0) if len(states_MH) else states_MH.float().sum(0))
    return torch.stack(embeddings).clone(), lengths
