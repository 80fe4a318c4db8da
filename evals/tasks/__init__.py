"""What a task is, and those that ship, one file each.  Training reward and evaluation call the same `judge`."""

from evals.tasks.base import Domain, EvalSet, Problem, Step, Task
from evals.tasks.registry import ALIASES, load, names

__all__ = ["ALIASES", "Domain", "EvalSet", "Problem", "Step", "Task", "load", "names"]
