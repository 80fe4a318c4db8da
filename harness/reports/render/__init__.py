"""From numbers to text, tables, figures and pages.

text            sentences and formatted numbers
escape          texts from elsewhere as parts of a Markdown page
table           `Table`: one table of text cells and its formats
tables          the tables of a report
coverage        the tables of problems that were sampled several times
arms            what an arm is, and how its completions ended
caveats         cautions in the headline's place, and notes
reward_models   the table of reward models
figures         the figures, as SVG and PNG
html_report     report.html
power           what a study can decide
provenance      commands, versions, machines and samples
"""
