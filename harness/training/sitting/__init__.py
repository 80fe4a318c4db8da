"""One sitting of a run: from where a process takes it up to where that process lets go of it.

listener  `RunListener`: what it reports to
log       the sittings in the record
threads   how many threads it has, and whether other work takes their cores
"""
