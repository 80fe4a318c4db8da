"""Completions of several turns: the policy calls a tool, reads what it answers, and goes on.

protocol    `Tool`, `ToolError`: what a tool is
toolbox     `Toolbox`: the calls in a text, and answers as text and tokens
calls       running calls: a time limit, several at once, whatever they raise
search      `search`: BM25 over a corpus
calculator  `calculator`: exact arithmetic
registry    a run's tools, from names
episodes    `ToolSampler`: the rollout engine with tools

There is no built-in `python`: to run what a policy writes takes a machine of its own to run it on (a container without
network, files and time), which is nothing that a library can promise to have.  Who has one gives it as FILE.py:name.
"""
