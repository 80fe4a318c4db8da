"""Evaluation: what is right.  No algorithms, no training loop.

verification   text -> verdict
statistics     estimators, intervals and comparisons over plain arrays
tasks          problems, and the verifier of their completions
scoring        a model's scores on evaluation sets, directly or through lm-eval
taskfiles      the former place of `evals.scoring.task_files.hooks`, for task folders of earlier versions

`scoring` imports `tasks`, and both import `verification` and `statistics`.
"""
