"""`hooks` under the name that helper files of earlier runs import; it is defined in `evals.scoring.task_files`."""

from evals.scoring.task_files import hooks

__all__ = ["hooks"]
