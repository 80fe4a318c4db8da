"""What nano reads before RL: a mixture of solution styles, as a web corpus is for a language model.

    careful    <think>5-3=2,12-2=10,10+4=14</think>#### 14     a correct derivation; rare
    careless   5-3=2,12-2=11,11+4=15                          one slip, carried on to the end
               #### 15
    bare       #### 14                                        the commonest; a guess of mixed quality

The careful style is mastered but rare, so that neither greedy nor sampled decoding shows much of it at the
start and RL has something to elicit: written-out steps, as R1-Zero elicits long solutions from a base model.
`harness pretrain nano` trains on this; nothing else imports it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from evals.tasks.data.arithmetic_chains import LIMIT, MARK, Chain, careful, derive, draw_chain, draw_sorting


@dataclass(frozen=True)
class Mixture:
    """Shares and error rates of the corpus.  All are probabilities."""

    careful: float = 0.13
    careless: float = 0.22  # the rest is bare
    bare_right: float = 0.6  # of bare answers to three numbers; half of it to more
    bare_drops: float = 0.6  # of wrong bare answers: the last number was overlooked; others are slips
    worded: float = 0.10
    retention: float = 0.10


def clamp(x: int) -> int:
    return min(max(x, 0), LIMIT)


def slip(rng: random.Random, x: int) -> int:
    """A plausible wrong result near x, never x itself."""
    while (y := clamp(x + rng.choice((-10, -2, -1, 1, 2, 10)))) == x:
        pass
    return y


def careless(chain: Chain, rng: random.Random) -> str:
    """A derivation with one slip; later steps that use the wrong number carry it on."""
    steps = derive(chain, rng)
    wrong = rng.randrange(len(steps))
    renamed: dict[int, int] = {}
    lines, c = [], 0
    for i, (a, op, b, c) in enumerate(steps):
        a, b = renamed.pop(a, a), renamed.pop(b, b)
        new = clamp(a + b if op == "+" else a - b)
        if i == wrong:
            new = slip(rng, new)
        if new != c:
            renamed[c] = new
        lines.append(f"{a}{op}{b}={new}")
        c = new
    return ",".join(lines) + f"\n{MARK}{c}"


def bare(chain: Chain, rng: random.Random, mix: Mixture) -> str:
    numbers = len(chain.flat)
    right = 1.0 if numbers == 2 else mix.bare_right if numbers == 3 else mix.bare_right / 2
    if rng.random() < right:
        return f"{MARK}{chain.value}"
    if rng.random() < mix.bare_drops:
        return f"{MARK}{clamp(chain.value - chain.flat[-1])}"
    return f"{MARK}{slip(rng, chain.value)}"


def arithmetic_document(rng: random.Random, mix: Mixture) -> tuple[str, str]:
    numbers = rng.choices((2, 3, 4, 5, 6), (20, 30, 30, 12, 8))[0]
    most = 30 if rng.random() < 0.8 else 60
    while (chain := draw_chain(rng, numbers, most)).split != "pretrain":
        pass
    prompt = f"What is {chain.words}?" if rng.random() < mix.worded else f"{chain.text}="
    style = rng.random()
    if style < mix.careful:
        return prompt, careful(chain, rng)
    if style < mix.careful + mix.careless:
        return prompt, careless(chain, rng)
    return prompt, bare(chain, rng, mix)


def documents(seed: int, mix: Mixture) -> Iterator[tuple[str, str]]:
    """An endless stream of (prompt, completion)."""
    rng = random.Random(f"mixture/{seed}")
    while True:
        if rng.random() < mix.retention:
            sorting = draw_sorting(rng, "pretrain")
            yield sorting.prompt, sorting.solution
        else:
            yield arithmetic_document(rng, mix)
