"""The ledger (`Spend`, in every unit) and the limit (`Budget`, in one)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

UNITS = ("prompts", "completions", "generated_tokens", "trained_tokens", "updates", "flops", "device_seconds")


@dataclass
class Spend:
    """What a run has used.  Evaluation, checkpoints and side branches are metered elsewhere, never here."""

    prompts: int = 0
    completions: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0  # completion tokens in updates, every epoch counted; zero-variance groups are trained too
    updates: int = 0
    flops: float = 0.0  # the model's, by formula (harness/accounting/flops.py), not the machine's
    device_seconds: float = 0.0
    verifier_calls: int = 0
    tool_calls: int = 0  # answered
    tool_tokens: int = 0  # of the answers: read by the policy, and neither generated nor trained

    def charge_rollout(
        self,
        prompts: int,
        lengths: Sequence[int],
        flops: float,
        generated: bool = True,
        tools: tuple[int, int] = (0, 0),
    ) -> None:
        """Enter completions of `lengths` tokens of their own: of `prompts` new prompts, and what `flops` it took to
        have and read them.

        Every completion is verified once.  `generated` is false where they were written, not sampled.  `tools`: calls
        that were answered in them, and tokens of the answers.
        """
        self.prompts += prompts
        self.completions += len(lengths)
        self.generated_tokens += sum(lengths) if generated else 0
        self.flops += flops
        self.verifier_calls += len(lengths)
        self.tool_calls += tools[0]
        self.tool_tokens += tools[1]

    def as_dict(self) -> dict[str, float]:
        """By name; what tools did, where they did anything."""
        return {name: x for name, x in asdict(self).items() if x or not name.startswith("tool_")}


@dataclass(frozen=True)
class Budget:
    """The one unit and limit that a run may use.

    >>> Budget.parse("completions=2048")
    Budget(unit='completions', limit=2048.0)
    """

    unit: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """UNIT=LIMIT, e.g. `completions=2048` or `flops=1e15`.  Raises ValueError naming what is valid."""
        unit, equals, number = text.partition("=")
        if not equals or unit not in UNITS:
            raise ValueError(f"budget: '{text}' is not UNIT=LIMIT with UNIT one of {', '.join(UNITS)}")
        try:
            limit = float(number.replace("_", ""))
        except ValueError:
            limit = math.nan
        if not (math.isfinite(limit) and limit > 0):
            raise ValueError(f"budget: the limit of '{text}' must be a positive number")
        return cls(unit, limit)

    def used(self, spend: Spend) -> float:
        return float(getattr(spend, self.unit))

    def fraction(self, spend: Spend) -> float:
        return min(self.used(spend) / self.limit, 1.0)


def check_spent(budget: Budget, source: str) -> Budget:
    """Raises ValueError where a run with completions of this `Schedule.source` never spends it: it would never end."""
    unspent = ("generated_tokens",) if source == "dataset" else ()
    if budget.unit in unspent:
        valid = ", ".join(unit for unit in UNITS if unit not in unspent)
        raise ValueError(f"budget: written solutions (source={source}) spend no {budget.unit}; valid: {valid}")
    return budget


SHARED = ("flops", "device_seconds")  # units that sampling and training both draw on
FILLED = ("trained_tokens", "updates", *SHARED)  # units of which training takes all that is left


def sampling_budget(budget: Budget, prompts: int, share: float) -> Budget:
    """What sampling may use of `budget`, in a unit that sampling spends: a `share` of one that training draws on too.

    `prompts` a round, one update each.

    >>> sampling_budget(Budget("updates", 20), prompts=32, share=0.5)
    Budget(unit='prompts', limit=640)
    """
    if budget.unit in SHARED:
        return Budget(budget.unit, budget.limit * share)
    if budget.unit == "trained_tokens":
        return Budget("generated_tokens", budget.limit)
    if budget.unit == "updates":
        return Budget("prompts", budget.limit * prompts)
    return budget
