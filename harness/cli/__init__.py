"""The command line.  Modules import what they need inside functions: help is printed without torch.

main            the commands run, list and merge; exit codes
pretrain        the command pretrain, and a prepared run carried out
study           the commands compare, ablate, report, fold, rescore and calibrate
outputs         the commands eval, show and push
plan            the command plan
bench           the commands bench algos, limit, scale and peers
foreign         the commands import csv, import trl and import verl
options         options that several commands share
catalog         the text of `harness list`
reference       the page of `harness list --markdown`
study_catalog   the text of `harness ablate --list`
progress        `Progress`: console output during a run
summary         the tables at the end of a run
__main__        `python -m harness.cli`
"""
