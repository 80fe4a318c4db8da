"""Language models.

loading          `load_model`, `save_model`, `accelerator`: from a name or a folder to a model on a device
files            what a model's files must hold: whole weights that fit their configuration
backbone         `Backbone`: the states in which completion tokens were chosen; gradient checkpointing
causal_lm        `CausalLM`: log-probabilities of completion tokens from one packed forward pass
foreign_code     code and token ids that a model may not bring along
packing          `Packed`: the layout of prompts and completions without padding
attention        attention over a packed layout, in any transformers model
microbatching    `cut`: rows in micro-batches
limits           constants and rules of memory use, shared with the planner; plain Python
policy           `LMPolicy`: policy, reference and value model, with their optimiser
value_model      `ValueModel`: a value head, on the policy's backbone or its own
adapters         LoRA and DoRA: small trained weights on a frozen base
parallel         a model in shares, over several processes
optimizer        `OptimizerSettings`: learning rate schedule and optimiser
half_precision   16-bit copies of fp32 models
pretraining      the embedded starting models, and how they are made
adapters         LoRA and DoRA by peft: one frozen base, saved, loaded, merged
"""
