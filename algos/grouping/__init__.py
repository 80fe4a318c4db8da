"""What a reward is compared with, and within which group: choices of GRPO by name (`algo.baseline`, `algo.group_by`).

base        `Baseline`, `GroupKey`: what either may read, learn and cost
catalog     names with options, `history(rho=0.9)`, or a user's FILE.py:function; what there is
checks      which choices go together
prompt      the prompt's own group: none, group, leave_one_out, length, batch, greedy; many sizes of it: multiscale
shrinkage   strength borrowed from other prompts: james_stein, james_stein_corrected, hierarchical
history     strength borrowed from other rounds: history (SPO), window, ha_dw, kalman
predictor   a logistic regression on a prompt's features and history, refitted every round
keys        groups other than a prompt's: source, random, difficulty, cluster, reward, length

A baseline leaves the gradient's expectation alone exactly where it does not depend on the completion that it is
compared with.  Each says whether that holds (`unbiased`; a key: `safe`), and `tests/algos/test_unbiased.py`
enumerates a bandit to check it.
"""
