"""What a completion can be worth beside the source's own reward: the terms of a composed reward.

    reward = sum over the terms that `reward_weights` names of weight x term, 0 where a term of `reward_gate` is 0

| term       | a completion's number                                               | as in                        |
|------------|---------------------------------------------------------------------|------------------------------|
| `accuracy` | what `--reward` says; weight 1 where it is not named                | DeepSeek-R1 (2501.12948 §2.2)|
| `format`   | 1 where it has the task's form, else 0                              | the same                     |
| `language` | share of its words that are written in the prompt's script          | the same, by language        |
| `length`   | 0 .. -1: DAPO's soft penalty near the token limit                   | 2503.14476 eq. 13            |
| `steps`    | share of its written steps that the task's checker finds right      | chosen; 2402.03300 §4.1.3's  |
| `end`      | 1 where it has ended by itself, 0 where a limit has cut it          | ReSearch (2503.19470)        |
| `calls`    | -1 for each call of a tool that was answered                        | chosen                       |
| `f1`       | F1 of the answer's words (`open_qa`), elsewhere 1 where it is right | ReSearch (2503.19470)        |
| `support`  | 1 where what the answer rests on was asked or looked up (the task)  | chosen                       |

A term is a pure function of what there is to see.  Weight 0 logs a term and leaves the reward alone; a term that is
not named is neither computed nor logged.  Each is logged apart (`reward/TERM`).  R1 adds its terms with equal weights;
ReSearch gives 0 without form and end, whatever the answer is: `reward_gate=format,end`, logged as `reward/gate`.

In a group whose answers are all right, or all wrong, the smallest of the other terms is all the difference there is,
and division by the group's deviation makes it as large as an answer's: a trap of normalisation, not of the weight
(`algo.normalize=none` leaves it small).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from algos import Rollouts
from evals.tasks import Problem, Task
from evals.verification.transcript import turns_of
from evals.verification.verifier import Verdict
from harness.config.rewards import ACCURACY, SHAPING_TERMS
from harness.rewards.base import JudgedCompletions, RewardSource, SamplingContext
from harness.rollout.collate import last_columns

CACHE_SHARE = 0.2  # of the token limit: 2503.14476 has a cache of 4,096 tokens before a limit of 20,480


@dataclass(frozen=True)
class Seen:
    """One completion, and all that a term may look at."""

    task: Task
    problem: Problem
    text: str
    verdict: Verdict
    tokens: int  # that the policy chose, its end token included
    max_new_tokens: int
    ended: bool = True  # by itself, not by a limit


def form(seen: Seen) -> float:
    """1 where the task finds its form in the completion, right or wrong."""
    return float(seen.task.formatted(seen.text))


def steps(seen: Seen) -> float:
    """right / written; 0 where no step is written, so that silence earns nothing."""
    written = seen.task.steps(seen.problem, seen.text) or []
    return sum(s.right for s in written) / max(len(written), 1)


def length(seen: Seen) -> float:
    """0 up to L_max - L_cache, then -(|o| - (L_max - L_cache)) / L_cache, which is -1 at L_max (2503.14476 eq. 13).

    L_max is `max_new_tokens`, beyond which nothing is sampled; L_cache a fifth of it.
    """
    cache = CACHE_SHARE * seen.max_new_tokens
    return -min(max(seen.tokens - (seen.max_new_tokens - cache), 0.0) / cache, 1.0)


def language(seen: Seen) -> float:
    """Words in the target script / words; 1 where there is no word, or the prompt has no letter to go by.

    R1 counts words of the target language.  A script is all that letters tell: English is not told from French, and
    a text without spaces is one word.  Tags and LaTeX commands are no words of a language.
    """
    target, words = script_of(seen.problem.prompt), words_of(seen.text)
    if target is None or not words:
        return 1.0
    return words.count(target) / len(words)


def end(seen: Seen) -> float:
    """1 where it has ended by itself."""
    return float(seen.ended)


def calls(seen: Seen) -> float:
    """-(number of answered calls): with a positive weight, what a call costs."""
    return -float(len(turns_of(seen.text)))


def f1(seen: Seen) -> float:
    """The task's measure of that name; of a task without it, 1 where the strict reading is right."""
    measured = seen.task.measures(seen.problem, seen.text, seen.verdict)
    return float(measured.get("f1", seen.verdict.strict == "correct"))


def support(seen: Seen) -> float:
    """1 where the task finds all that the answer needs in the problem, or in what tools answered."""
    return float(seen.task.supported(seen.problem, seen.text))


def words_of(text: str) -> list[str]:
    """The script of each word: a word is a run of letters of one script.

    >>> words_of("<think>two и два</think> = \\\\frac 4")
    ['LATIN', 'CYRILLIC', 'CYRILLIC']
    """
    plain = unicodedata.normalize("NFKC", re.sub(r"</?\w+>|\\[A-Za-z]+", " ", text))
    return [script for script, _ in groupby(plain, _script) if script is not None]


def script_of(text: str) -> str | None:
    """The script of most of its letters, the first of equals; None where it has no letter."""
    letters = Counter(script for script in map(_script, unicodedata.normalize("NFKC", text)) if script is not None)
    return letters.most_common(1)[0][0] if letters else None


@lru_cache(4096)
def _script(letter: str) -> str | None:
    """The first word of a letter's name in Unicode, e.g. LATIN; Japanese mixes three scripts, which count as one."""
    if not letter.isalpha():
        return None
    script = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else script


Term = Callable[[Seen], float]
TERMS: Mapping[str, Term] = {
    "format": form,
    "language": language,
    "length": length,
    "steps": steps,
    "end": end,
    "calls": calls,
    "f1": f1,
    "support": support,
}
assert tuple(TERMS) == SHAPING_TERMS, "the names that a configuration may use are those that there are"


class ShapedReward(RewardSource):
    """A source and other terms beside it: reward = sum of weight x term (the terms above).

    Where steps have rewards, theirs are weighed as `accuracy` is, and the other terms are added to the last step's; a
    gate that is closed leaves none of them.
    """

    def __init__(
        self,
        source: RewardSource,
        weights: Mapping[str, float],
        task: Task,
        max_new_tokens: int,
        gate: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.gate = tuple(gate)
        self.source, self.task, self.max_new_tokens = source, task, max_new_tokens
        self.accuracy = weights.get(ACCURACY, 1.0)
        self.weights = {name: weight for name, weight in weights.items() if name != ACCURACY}

    def rate(self, rollouts: Rollouts, answers: JudgedCompletions) -> tuple[Rollouts, dict[str, float]]:
        r, metrics = self.source.rate(rollouts, answers)
        assert r.reward_N is not None
        lengths = r.completion_mask_NT.sum(1)
        ended = [True] * len(lengths) if r.finished_N is None else r.finished_N.tolist()
        rows = zip(answers.rows(), lengths.tolist(), ended, strict=True)
        seen = [Seen(self.task, p, text, v, n, self.max_new_tokens, e) for (p, text, v), n, e in rows]
        values = {name: r.reward_N.new_tensor([TERMS[name](one) for one in seen]) for name in self.weights}
        more_N = sum((self.weights[name] * term_N for name, term_N in values.items()), torch.zeros_like(r.reward_N))
        known_N = torch.tensor([v.strict != "verifier_error" for v in answers.verdicts], device=more_N.device)
        known_N = known_N if r.valid_N is None else known_N & r.valid_N
        for name, term_N in {ACCURACY: r.reward_N, **values}.items():  # of what stays in its group, as `reward`
            metrics = {**metrics, f"reward/{name}": float(term_N[known_N].mean()) if known_N.any() else 0.0}
        step_reward_NT = r.step_reward_NT
        if step_reward_NT is not None:
            last_N1 = last_columns(r.completion_mask_NT)[:, None]
            step_reward_NT = (self.accuracy * step_reward_NT).scatter_add(1, last_N1, more_N[:, None])
        reward_N = self.accuracy * r.reward_N + more_N
        if self.gate:
            open_N = reward_N.new_tensor([float(all(TERMS[name](one) for name in self.gate)) for one in seen])
            metrics["reward/gate"] = float(open_N[known_N].mean()) if known_N.any() else 0.0
            reward_N = reward_N * open_N
            step_reward_NT = None if step_reward_NT is None else step_reward_NT * open_N[:, None]
        return replace(r, reward_N=reward_N, step_reward_NT=step_reward_NT), metrics

    def begin(self, context: SamplingContext) -> None:
        self.source.begin(context)

    def refresh(self, context: SamplingContext) -> None:
        self.source.refresh(context)

    def modules(self) -> dict[str, Any]:
        return self.source.modules()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return self.source.state()

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.source.load(state, tensors)
