"""Numbers -> tables, sentences, figures, pages.

text            numbers and sentences
tables          the tables of a report, and their formats
reward_models   the table of trained reward models
provenance      commands, versions, sample completions
figures         SVG and PNG
html_report     report.html
"""
