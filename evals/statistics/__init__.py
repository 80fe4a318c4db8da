"""Estimators, intervals and comparisons over plain arrays.  No torch, no model.

comparison           means, intervals, paired tests and the comparison of arms: `compare_pairs`
learning_curves      accuracy against budget: crossovers, and the budget that reaches a level
pass_at_k            pass@k and maj@k from n samples per problem
classifier_quality   quality of predicted probabilities: `quality`
simulation           simulated runs with a known truth, to check the intervals
"""
