"""Estimators, intervals and verdicts over plain arrays."""
