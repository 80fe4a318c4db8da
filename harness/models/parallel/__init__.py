"""A model over several processes.

sharding   FSDP2: each process holds its share of every weight, gradient and moment
state      whole weights and moments of a sharded model, for checkpoints that any number of processes loads
"""
