"""How a command ends, where ValueError before its work begins does not say it."""

from __future__ import annotations


class RunFailed(Exception):
    """The run began and did not end well; its record says why."""


class CannotResume(ValueError):
    """What a run left behind does not carry it on.  Found when its folder is read, before anything is written."""


class PushFailed(RunFailed):
    """The hub has refused, or could not be reached."""
