"""The embedded starting models: a folder each (profile, recipe, weights), and what rebuilds them."""
