"""Reports: from the records of a study to tables, figures and pages.  No torch.

report            `write_report`: `harness report` on a study
comparable        what two runs of one study must have in common
loading           the records of a study as arrays
runs              single runs, grouped by configuration, as a study
csv_files         table.csv and curves.csv
palette           how an arm looks: one colour per algorithm (palette.toml)
consistency       does a record agree with itself and with its outcomes?
analysis          numbers: comparisons, hypotheses, learning curves
render            numbers -> text, tables, figures, pages
paper             `write_paper`: figures and tables in the sizes of a paper
collection        several studies side by side
collection_page   `write_overview`: `harness report` on a folder of studies
includes          `update_includes`: parts of a report inside another document
rescore           `harness rescore`: the verdicts of old runs, judged anew
calibration       `harness calibrate`: checks of the comparison statistics
"""
