"""Pure functions on tensors, independent of containers and algorithms.

advantages        baselines, normalisation, group advantages, zero-variance groups
aggregate         from per-token numbers to one number per update
kl                estimates of the KL divergence, adaptive coefficients
policy_gradient   the objective that GRPO and PPO share
ratios            importance ratios and clipping
reasoning         advantages of answer and steps together
select            which completions are trained on
values            generalised advantage estimation, value loss, explained variance
"""
