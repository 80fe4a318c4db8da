"""Our GRPO against TRL's GRPOTrainer, each side in its own process.

comparison    the suite: options, pairs of steps, the record
equivalence   the check that both sides compute the same loss and gradient
job           the job of a child process: `Job`, `Mode`
process       the parent's handle of a child: `Side`
worker        the child process: pipes, memory
ours          our side
theirs        TRL's side
ratios        from pairs of steps to ratios and tables
"""
