"""Backends for lrbackends, which finds them by the entry points in pyproject.toml."""
