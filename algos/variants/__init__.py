"""Variants by name: an algorithm with other defaults, and nothing else.

dr_grpo     no deviation, a constant length (2503.20783)
dapo        a higher upper clip, average by token, groups without a difference left out (2503.14476)
gspo        one ratio per sequence (2507.18071)
cispo       the weight is clipped, no token loses its gradient (2506.13585)
rloo        the other completions' mean as baseline, plain REINFORCE, KL in the reward (2402.14740)
lite_ppo    the group's mean, the batch's deviation, average by token (2508.08221)

A file per variant: a subclass that gives fields other defaults.  What a variant does not name is as in its base.  All
of them make one update per round, as the base does, so that arms differ in their loss alone; with one update rho is 1
and no clip acts: `algo.minibatches=4` asks for more.
"""
