"""Completions that somebody, or some model, has written for prompts: a file of reasoning traces to fine-tune on.

reading   `read_traces`: the rows of a file as `Trace`, which is a problem with its completion and annotated steps
"""

from evals.tasks.traces.reading import ACCEPTED, Trace, read_traces

__all__ = ["ACCEPTED", "Trace", "read_traces"]
