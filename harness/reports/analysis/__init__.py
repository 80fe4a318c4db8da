"""From records to numbers.

summary          `summarize`: arms, pairs, curves
contrasts        `Decisions`: the differences that a study asks about, decided by family
hypotheses       verdicts on a study's claims
power            what a study can decide, before it runs
budget_audit     spend against budget, delays of evaluations
interpolation    accuracy at a fraction of the budget
logged_metrics   training metrics by quarter of the budget
pass_at_k        pass@k and maj@k before and after training
coverage         where a gain comes from; averages over samples
"""
