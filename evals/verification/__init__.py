"""Verification: from the text of a completion to a verdict.

extraction   finds marked answers in a text, and brings them to a normal form
verifier     compares them with the gold answer: `verify`, `Verdict`, `parse_gold`, `concludes`
worker       the process in which math-verify compares expressions
"""
