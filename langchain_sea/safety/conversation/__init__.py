"""The conversation before a call: who wrote which text, what it asks for, and how far it is trusted."""
