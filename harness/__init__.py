"""The harness: how algorithms are run, measured and compared.

accounting   1   budgets, FLOPs, phases, bytes
config       2   the configuration of a run, and the experiment that it describes
records      2   record.json: schema, reading, writing, earlier versions
models       3   language models: loading, packed forward passes, policy, value model, pretraining
studies      3   studies: arms x seeds, planned runs, status, launcher
rollout      4   prompts -> completions
planner      4   predicted memory and cost of a run
reports      4   records -> analysis -> tables, figures and pages
rewards      5   completions -> rewards
training     6   the training loop, and a run from start to end
bench        7   speed and memory, alone and against TRL
cli          8   commands and console output

The number is the level: a package imports only packages of lower levels (`lint-imports`, `scripts/structure.py`).
"""
