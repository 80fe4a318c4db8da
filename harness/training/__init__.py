"""The training loop, and a run from start to end.

setup          `prepare`: from a configuration to a `PreparedRun`
run            `execute`: from the first evaluation to the record
trainer        `Trainer`: rounds of rollout, reward, credit and update
loop           what stands beside it: its protocol, what is known of prompts, dynamic sampling
offline        `OfflineLoop`: sampling first, training afterwards
completions    where completions come from: the sampler, or written solutions
supervised     what a run that samples alone leaves for another to be fine-tuned on
batching       a round's updates and their micro-batches
iterations     resetting the reference and refreshing the reward during a run
metrics        `Round`: one line of metrics.jsonl; warnings
evaluation     `Evaluator`: points of the learning curve; `harness eval`
resume         is a run that is resumed the run that was begun?
checkpoint     the complete state of a run
memory_check   the largest micro-batch, tried before the first round
interrupt      Ctrl-C at the end of a round
sitting        one sitting of a run: its threads, its line in the record
distributed    a run over several processes
"""
