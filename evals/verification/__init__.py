"""Verification: from the text of a completion to a verdict.

extraction               finds marked answers in a text, and what of the text is read
boxes                    several boxes as the items of one list
answers                  decides whether two answers are the same, without a computer algebra system
verifier                 the verdict: `verify`, `Verdict`, `parse_gold`, `concludes`
transcript               a completion of several turns: the policy's words, and what tools answered
worker                   the process in which math-verify compares what `answers` cannot read
math_verify_comparison   what that process computes
"""
