"""What a run leaves for another to be fine-tuned on.

accepted   `write_accepted`: the completions that a run which samples alone has kept (`evals.tasks.traces` reads them)
"""
