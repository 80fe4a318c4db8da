"""Estimators, intervals and comparisons over plain arrays.  No torch, no model.

comparison           proportions, paired t-tests, families of pairs (Holm, simultaneous intervals), bootstrap
learning_curves      crossings of two curves, budget to reach a level
pass_at_k            unbiased pass@k and maj@k
classifier_quality   accuracy, AUC, Brier score and calibration of predicted probabilities
simulation           simulated runs with a known difference: coverage of the intervals
"""
