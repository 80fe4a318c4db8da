"""Numbers -> tables, sentences, figures, pages."""
