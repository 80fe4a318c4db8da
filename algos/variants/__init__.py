"""Variants by name: an algorithm with other defaults, or with a few lines of its own.

family.toml     those of the field: DAPO, RLOO, MaxRL, ...; each with its paper, its equation and what it changes
dialects.toml   what frameworks compute by default under the name of GRPO: `--preset trl` is the algorithm `grpo_trl`
clip_cov        Clip-Cov: a few tokens leave the gradient (2505.22617)
kl_cov          KL-Cov: a few tokens are held to the sampler (2505.22617)
dgpo            the mean absolute deviation, and a weight for hard prompts (MathForge)
dra             rewards shared out among completions that are alike (2505.09655)
lead            a weight by difficulty and sign (2504.09696)
pass_at_k       the analytic advantages of pass@k (2508.10751)

What is only other values is a row of a table; what needs code is a small file.  What a variant does not name is as in
its base.  All of them make one update per round, as the base does, so that arms differ in their loss alone; with one
update rho is 1 and no clip acts: `algo.minibatches=4` asks for more.
"""
