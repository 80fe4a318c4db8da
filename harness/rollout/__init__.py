"""From prompts to completions.

sampler          `Sampler`, `Sampling`, `Completions`: completions with log-probabilities
engine           one decoding step for all rows, eager or as captured CUDA graphs
padded_decoding  the same for architectures that cannot be read packed
kv_cache         keys and values of prompts and completions
self_check       `self_check`: sampler and trainer against the model's own forward, before a run begins
token_sampling   sampling a token by inverse CDF
rng              random numbers by (seed, stream, prompt, completion, position)
prompts          `PromptStream`: the problems in the order of a run
tokenization     `PromptTokenizer`: prompt text -> token ids
decoding         token ids -> the text that tasks read
metadata         what is known of a rollout's prompts besides their text
collate          problems -> `Rollouts` and texts
tools            completions of several turns, in which the policy calls tools
"""
