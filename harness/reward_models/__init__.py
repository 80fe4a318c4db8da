"""Learned reward models: a scalar head on the policy's own backbone, trained on what rules or continuations say.

fields.py   what is asked of one            labels.py   completions of the start model -> labels, outcome or steps
model.py    trunk and head, score, load     fit.py      labels -> a trained model, and how good it is
learned.py  the source of rewards that a run reads: trains it first, refreshes it, keeps its history
"""
