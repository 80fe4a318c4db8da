"""Prompts -> completions: sampler, decoding engine, KV cache, random numbers."""
