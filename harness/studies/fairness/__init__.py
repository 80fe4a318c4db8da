"""What makes arms comparable.

tuning          as many trials for every arm, until the best lies inside
equal_updates   as many optimiser steps for every arm
placebo         arms whose rewards say nothing
"""
