"""`harness pipeline`: stages as one file, and `harness plan --pipeline`."""
