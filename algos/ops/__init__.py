"""Pure functions on tensors.  They know no container and no algorithm: use them, and test them, by hand."""
