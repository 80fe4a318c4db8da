"""Predicted memory and cost of a run, from its configuration and the model's config.json: arithmetic only.

command         `plan_text`, `setting_of`: `harness plan`
architecture    `Architecture`: sizes and parameter counts of a decoder
adapters        numbers and kept tensors of an adapter on a frozen model
setting         `Setting`: a run to plan; the parts that live through it
memory          `predict`: bytes by phase and part
activations     memory of one layer's forward and backward pass
training_step   memory of an update
inference       memory of scoring and decoding
compute         `cost_of`: FLOPs, tokens, rounds and seconds
suggestions     changes of the configuration that make a run fit
render          the plan as text and as JSON
gpus          published peaks of GPUs that are not here
"""
