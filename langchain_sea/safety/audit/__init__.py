"""The audit log, and what it says about another policy."""
