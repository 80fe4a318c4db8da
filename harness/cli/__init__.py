"""The command line.  Modules import what they need inside functions: help is printed without torch.

main            the commands list and merge; exit codes
run             the command run, and a prepared run carried out
pretrain        the command pretrain
study           the commands compare, ablate, report, fold, rescore and calibrate
outputs         the commands eval, show and push
plan            the command plan
pipeline        the command pipeline, and `plan --pipeline`
bench           the commands bench algos, limit, scale and peers
foreign         the commands import csv, import trl and import verl
options         options that several commands share
lists           the text of `harness list`
reference       the page of `harness list --markdown`
study_catalog   the text of `harness ablate --list`
console/        what a terminal shows of a run and of a study
__main__        `python -m harness.cli`
mistakes      what a mistyped command is told
"""
