"""What a terminal shows; elsewhere the same as plain lines.

progress      `Progress`: a run while it goes on
curve         a run's curve in characters, and what to do next
dry_run       what a run would be, in ten lines
study         a table of a study's runs that fills in
summary       the tables at the end of a run
"""
