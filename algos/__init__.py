"""What is learned: pure tensor maths.  Imports torch and the standard library, nothing else."""

from algos.algorithm import Algorithm, Row, load, names
from algos.policy import Policy, ValueHead
from algos.types import Batch, Credit, Critic, Fresh, Metrics, Need, Rollouts, Schedule, Totals

__all__ = [
    "Algorithm",
    "Batch",
    "Credit",
    "Critic",
    "Fresh",
    "Metrics",
    "Need",
    "Policy",
    "Rollouts",
    "Row",
    "Schedule",
    "Totals",
    "ValueHead",
    "load",
    "names",
]
