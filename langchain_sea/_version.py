"""The version of the package, importable without anything else of it."""

__version__ = "0.2.0"
