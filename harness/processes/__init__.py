"""The processes that share a run, one device each: what `accelerate launch` and `torchrun` start.

group      `Group`: gather, sum, map; one process is a group of its own, in which every operation returns at once
several    the same over torch.distributed
launch     joining the processes at the start, and parting at the end
watch      signs of life: a rank that dies ends the run for all
ledger     seconds of every rank's device
agreement  what must be the same on every rank

    prompts --each rank its whole groups--> completions --gathered--> rewards, credit: every rank, the whole round
    minibatch --each rank its sequences--> gradients of a loss over the whole minibatch's totals --summed--> one step

So a rank knows all that one process would know, and only the work is divided.  Random numbers belong to a completion
(harness/rollout/rng.py), not to a process.
"""
