"""From records to reports, without torch.

loading           records of a study -> arrays, checked
analysis/         arrays -> numbers
render/           numbers -> tables, sentences, figures, pages
report            `harness report` of one study
collection        several studies side by side; collection_page writes their README.md
includes          parts of reports inside other documents
calibration/      do the intervals cover what they should?  Simulations and control runs
"""
