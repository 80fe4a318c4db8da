"""Studies: arms x seeds under one budget.

study            `Study`: a study file
schema           tuning, report, hypotheses and scale profiles: the parts of a study besides its arms
ad_hoc           studies from command line options
scale_profiles   `paper-1.3b` and other scales, applied to a study
planned_run      `PlannedRun`: one run of a study, and its command
status           which runs are finished, and which trial is best
fairness         arms alike: tuning, equal updates, placebo arms
registration     `study.lock`: what a study asks, written before its first run
storage          study.json
cost_estimate    time of the remaining runs
launcher         `launch`: runs the planned runs as processes
controls         algorithms of control runs
library          the studies and profiles that ship with the package (TOML)
"""
