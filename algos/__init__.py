"""What is learned: pure tensor maths.  Imports torch and the standard library, nothing else."""

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.policy import Policy, ValueHead
from algos.core.registry import load, names
from algos.core.types import Batch, Credit, Critic, Fresh, Metrics, Need, Rollouts, Schedule, Totals

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
