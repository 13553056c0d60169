"""Policies: the tiny reasoning model, a shape from scratch, or a folder saved by transformers.

A model node has `tokenizer(corpus)`, `model(tokenizer, seed)` (float32, weights without adapter)
and `lora`.
"""
