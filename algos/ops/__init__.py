"""Pure functions on tensors, independent of containers and algorithms.

advantages        baselines, normalisation, group advantages, zero-variance groups
clustering        points that lie near to each other: k-means
aggregate         from per-token numbers to one number per update
kl                estimates of the KL divergence, adaptive coefficients
policy_gradient   the objective that GRPO and PPO share
ratios            importance ratios and clipping
reasoning         advantages of answer and steps together
reweighting       advantages that weigh a group by how hard its prompt is; pass@k
select            which completions, and which tokens, are trained on
shrinkage         a prompt's success rate, estimated with the help of other prompts
values            generalised advantage estimation, value loss, explained variance
"""
