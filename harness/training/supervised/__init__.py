"""Fine-tuning on what is written, by people or by another run.

problems   `training_problems`: those of the task, or of a file of traces
accepted   `write_accepted`: the completions that a run which samples alone has kept (`evals.tasks.traces` reads them)
"""
