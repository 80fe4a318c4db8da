"""Several runs one after another, as one file: a pipeline of stages, the model of each by name in the next.

schema      `Pipeline`, `Stage`: what a file says, checked
loading     `load`, `override`: a pipeline by name or FILE.toml, and what a command line changes
stage_run   `StageRun`: a stage with a seed as a run: its configuration, its folder, what it needs of others
storage     pipeline.json and pipeline.lock: what was asked, before the first run
launcher    `launch`: what is left, seed by seed; resumable
cost        `cost_lines`: what each stage will cost
results     the records of a pipeline as numbers, checked
contrasts   what is compared: each stage with the one before it, the end with each control
report      report.md: what each stage brought, against the whole budget on one stage

The library holds the pipelines that ship.  A run itself knows nothing of all this.
"""
