"""`harness pipeline`: stages as one file.

command   the command pipeline, and what `harness plan --pipeline` prints
"""
