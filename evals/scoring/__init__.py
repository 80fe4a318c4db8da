"""A model's completions of evaluation sets, scored: directly, or by lm-eval over the same files."""
