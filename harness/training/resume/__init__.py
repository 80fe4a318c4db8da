"""Is a run that is resumed the run that was begun, and is all there that it left?

folder   `run_folder`: where a run is kept
inputs   hashes of all that a run is given: data, prompts, model, rewards, algorithms
same     `check_same`: configuration and inputs against those of the record
recorded `resumed`: the configuration of a run from its own record
logs     the part of metrics.jsonl and samples.jsonl that a checkpoint stands on
"""
