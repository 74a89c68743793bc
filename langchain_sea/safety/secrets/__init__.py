"""Secrets in texts: keys of services, personal ones, and those that the agent has read."""
