"""A run over several processes: what the loop does differently then.

start    are these ranks of one run?
update   one update's metrics and costs, of all ranks together
rounds   do all ranks still agree?  What is kept where one is lost
"""
