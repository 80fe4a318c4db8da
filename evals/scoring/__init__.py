"""A model's scores on evaluation sets.

scorer           scores without lm-eval: `score_direct`; the types `Completion`, `Decoding`, `EvalRow`, `Scores`
lm_eval_bridge   the same scores by lm-eval, with our sampler or its own model: `score_lm_eval`, `score_hf`
stock_tasks      what `--eval-tasks` names: lm-eval's own tasks, a YAML file, a folder
task_files       evaluation sets as files that lm-eval reads: `write`, `read`, `hooks`

Callers pass a function from prompts to completions; nothing here knows a model or a sampler.
"""
