"""How a command ends when it is not the user's input that is wrong."""

from __future__ import annotations


class RunFailed(Exception):
    """The run began and did not end well; its record says why."""
