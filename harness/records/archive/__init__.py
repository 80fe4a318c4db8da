"""The runs of a study in three files, in the place of a folder for each of them.

    records.jsonl      a line per run: its record, and how much of it lies in the two tables
    metrics.parquet    a row per round
    outcomes.parquet   a row per problem of every evaluation

lines      one line of records.jsonl <-> a record
tables     rows as JSON has them <-> columns, without loss
reading    `Archive`: what the three files hold
folding    `fold`: folders of runs -> the three files

Only `harness.records.runs` reads it: whoever asks for a run need not know whether it is a folder or a line.
"""
