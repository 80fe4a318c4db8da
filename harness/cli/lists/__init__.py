"""`harness list`: what there is, in a terminal or as a page.

catalog   algorithms, tasks, fields
family    the members of GRPO's family, its choices, and the dialects of frameworks
"""
