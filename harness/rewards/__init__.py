"""Completions -> rewards: rules, shaping, process rewards, reward models."""
