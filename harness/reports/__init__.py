"""From records to reports: results -> findings -> wording, tables, figures -> report.md, report.html.  No torch."""
