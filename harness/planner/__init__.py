"""Predicted memory and cost of a run, from its configuration alone: arithmetic, nothing loaded and nothing run."""
