"""Algorithms: what is learned.  Only torch and the standard library are imported.

grpo, ppo, rft, online_rft, dpo, sft    one algorithm each; they do not import each other
variants                                one of these with other defaults, by a name of its own; dialects of frameworks
grouping                                what a reward is compared with, and within which group
core                                    the interface of an algorithm, and the registry
ops                                     pure tensor functions that algorithms are made of

Other packages import the names of the interface from here, and classes of algorithms by `load(name)`.
"""

from algos.core.algorithm import Algorithm
from algos.core.paradigm import Row
from algos.core.policy import Policy, ValueHead
from algos.core.registry import dialect_names, load, names, preset_of, variant_names, with_preset
from algos.core.types import (
    Batch,
    Credit,
    Critic,
    Metrics,
    PolicyOutputs,
    Requirement,
    Rollouts,
    Schedule,
    Source,
    Totals,
)

__all__ = [
    "Algorithm",
    "Batch",
    "Credit",
    "Critic",
    "Metrics",
    "Policy",
    "PolicyOutputs",
    "Requirement",
    "Rollouts",
    "Row",
    "Schedule",
    "Source",
    "Totals",
    "ValueHead",
    "dialect_names",
    "load",
    "names",
    "preset_of",
    "variant_names",
    "with_preset",
]
