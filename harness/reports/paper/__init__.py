"""For a paper: a study's figures in the widths of a column and of a page, and its tables in LaTeX.

choice     which arms, under which labels
write      `write_paper`: `harness report DIR --arms a,b --labels A,B --pdf --width 3.3in`
latex      table.tex: a main table that fits a column, and appendix tables
widths     how wide a text is in LaTeX's own font
"""
