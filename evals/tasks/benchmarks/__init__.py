"""Benchmarks by name: `--task math500`, `--eval-tasks aime24`.  One TOML each.

catalog   `Benchmark`, `names`, `load`: what a TOML says
task      `task_of`: a benchmark as a task

A TOML names the data set on the hub, its revision, splits and columns, the answer's format, its licence and its paper.
"""
