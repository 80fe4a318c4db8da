"""Pretraining of small starting models.

recipes             `pretrain`: the recipe of an embedded model, or of a model for a task
trainer             tokenizer, model and next-token training
arithmetic_corpus   the documents of nano
story_corpus        the documents of micro
lookup_corpus       the documents of lookup
"""
