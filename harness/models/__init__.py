"""Language models: loading, the packed forward pass, policy, value model, pretraining."""
