"""A method's row of DeepSeekMath's unified paradigm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method's row of the unified paradigm (2402.03300 §5.2.1, Table 10), whose methods differ in three things alone:

        grad J = E_{(q, o) ~ data source} (1/|o|) sum_t GC(q, o, t, reward) grad log pi(o_t | q, o_<t)           (eq. 5)

    The data source is not written here: the algorithm's schedule says it.
    """

    reward: str  # where a completion's reward comes from: "rule", "model", or "none"
    coefficient: str  # GC
    equation: str  # its number in 2402.03300
    transform: str = "-"  # F, where it ascends E F(p) for a reward of 0 or 1 (2510.13651); large groups, one update
