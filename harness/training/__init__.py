"""The loop: trainer, batching, metrics, checkpoints, evaluation, a run from start to end."""
