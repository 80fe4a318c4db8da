"""The comparison with TRL's GRPOTrainer, each side in a process of its own."""
