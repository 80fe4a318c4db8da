"""Runs of other trainers as records: `harness import`.

outcomes   a table with a row per problem and evaluation -> evaluations
trl        trainer_state.json of TRL's trainers -> rounds
verl       verl's file logger and its validation dumps -> rounds and evaluations
recording  rounds and evaluations -> the folder of a run

What a log does not hold stays unknown: a unit that was not counted is null in `spend`, and a table shows "-".  What the
user has said and no file proves is listed under `imported.stated`.
"""
