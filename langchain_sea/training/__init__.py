"""Training of the small models that score answers: hidden-state heads, gates and refusal heads.

It may import everything below it: models, the engine, which adversarial training attacks a head with, and rewards.
It trains no policy, and nothing that answers a call imports it.
"""
