"""Estimators, intervals and comparisons over plain arrays.  No torch, no model.

estimates            means and intervals of one arm
comparison           differences of arms over seeds and problems, decided as one family: `compare_pairs`
learning_curves      accuracy against budget: crossovers, and the budget that reaches a level
pass_at_k            pass@k and maj@k from n samples per problem
classifier_quality   quality of predicted probabilities: `quality`
simulation           simulated runs with a known truth, to check the intervals
verdict_simulation   simulated studies with a known truth, to check the words of a report
"""
