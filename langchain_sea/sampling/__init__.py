"""The sampler: Langevin kernels over logits, and relaxations of tokens. Pure functions of tensors.

Imports torch alone, and only when it first computes. It knows neither models nor texts: an energy is a function from
positions to numbers.
"""
