"""Facts that no model can know, and questions about them.

invented    names, what is true of each, and the corpus that says so
questions   questions of one and two facts, and questions that need none
"""
