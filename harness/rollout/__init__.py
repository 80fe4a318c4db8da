"""From prompts to completions.

sampler          `Sampler`, `Sampling`, `Completions`: completions with log-probabilities
engine           one decoding step for all rows, eager or as captured CUDA graphs
kv_cache         keys and values of prompts and completions
token_sampling   sampling a token by inverse CDF
rng              random numbers by (seed, stream, prompt, completion, position)
prompts          `PromptStream`: the problems in the order of a run
tokenization     `PromptTokenizer`: prompt text -> token ids
decoding         token ids -> the text that tasks read
collate          problems -> `Rollouts` and texts
"""
