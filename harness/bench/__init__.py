"""Benchmarks: speed and memory of the real training loop.  Each suite writes a JSON record.

workload        one algorithm at one shape, in its own process: `Workload`, `Options`, `run`
algorithms      suite `algos`: memory by part, tokens per second and FLOPs of every algorithm
roofline        suite `limit`: necessary work against the rate of the machine
scaling         suite `scale`: cost per completion by group size, length and prompts
vs_trl          suite `peers`: our GRPO against TRL's GRPOTrainer
model_shapes    the models: public shapes with random weights, and nano
random_reward   a reward for models with random weights
results         records and tables

`harness.cli.bench` calls the function `bench` of a suite.
round_probe   how long a run will take here, from rounds of it
"""
