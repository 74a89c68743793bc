"""Better answers from a local language model, without training: Simple Energy Adaptation for LangChain."""

__version__ = "0.1.0"
