"""Records -> numbers.

summary          everything that a report shows, per arm and per pair
hypotheses       the claims of a study and the tests of them
interpolation    accuracy at a fraction of the budget
logged_metrics   training metrics by quarter of the budget
pass_at_k        pass@k and maj@k against the start model
"""
