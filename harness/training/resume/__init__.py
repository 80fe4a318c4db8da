"""Is a run that is resumed the run that was begun?

inputs   hashes of all that a run is given: data, prompts, model, rewards, algorithms
same     `check_same`: configuration and inputs against those of the record
"""
