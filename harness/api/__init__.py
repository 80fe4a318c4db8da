"""The Python door: what `from harness import ...` gives.  The commands go through the same functions.

runs        `run`, `load_record`, `RunResult`
studies     `compare`, `load_study`, `StudyResult`
pipelines   `run_pipeline`: what `harness pipeline` goes through
finished    `push_run`, and what a finished run is evaluated by
cold_start  `harness pretrain` of a model whose recipe is a run
frames      records as pandas tables, with the meaning of every column
verdicts    a study's verdicts as text
flags       typed arguments as the layers of a configuration

Importing it loads neither torch nor pandas.
"""
