"""What a run may spend and has spent: budgets, FLOPs, phases, bytes."""
