"""The configuration of a run.

run_config     `RunConfig`, `resolve`: fields and their layers (defaults, model, TOML file, command line)
experiment     `Experiment`, `resolve_experiment`: algorithm, schedule, task and budget, built and checked
rewards        the reward of a run: names, shaping terms, fields of a reward model
tools          the tools that a policy may call: their names and limits, checked
overrides      fields by dotted name
field_docs     the comments behind fields, for `--help`, `harness list` and the docs
coercion       `build`: values as their declared types
files/         tables of fields from TOML and YAML files; where a command may write
nearest        the field that was meant by a mistyped name
start_models   models that ship with the package, and a model's default settings
lora           `--lora`: the fields of an adapter
errors         `RunFailed`, `CannotResume`
"""
