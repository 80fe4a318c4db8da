"""What a run may spend, and what it has spent.  Imports no other package of the harness.

budget          `Budget`: the limit in one unit; `Spend`: the spend in all units
flops           `FlopsModel`, `RunFlops`: FLOPs by one formula for all algorithms
round_sizing    `RoundSizer`: the number of groups of the next round
profiler        `PhaseProfiler`: seconds, tokens and peak memory by phase
tensor_memory   `measured`: bytes of live tensors in a block
format          numbers as text: `count`, `flops`, `size`, `percent`, `clock`
threads       OpenMP's threads on a machine that others use
"""
