"""Commands over what a run has left.

evaluate      `harness eval`: scores of a checkpoint, or of a run's
score_table   its table, a line for each set
show          `harness show`: a run's record as tables
push          `harness push`: a run's model to the hub
"""
