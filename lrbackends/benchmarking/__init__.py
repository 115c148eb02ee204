"""Honest measurement: each backend in fresh processes, its costs apart, its result checked."""
