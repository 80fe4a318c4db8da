"""Answers: is one the same as another?  Layers with one purpose each, the lowest first; `compare.same` is the door.

symbols       Unicode mathematics in LaTeX
notation      an answer in plain notation; numbers and words
units         what a number counts or measures
scanner       the characters of an expression
expressions   text -> syntax tree
operations    bounded arithmetic: exact where it is rational
evaluation    syntax tree -> value; when two trees are equal
shapes        lists, intervals, sets, matrices, ratios, relations
values        one value against one
relations     names on the left, inequalities as intervals
compare       shape against shape; what is left to calculate
"""
