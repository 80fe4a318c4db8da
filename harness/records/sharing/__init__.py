"""A run for others to see.

model_card   the card beside the final model, with the record's numbers
trackers     the same numbers in wandb, trackio, mlflow, swanlab
"""
