"""Where the helper files of earlier runs look for `hooks`; it lives in `evals.scoring.task_files`."""

from evals.scoring.task_files import hooks

__all__ = ["hooks"]
