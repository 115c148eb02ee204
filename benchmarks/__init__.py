"""Timings of the kernels and of whole fits; see README.md for what each suite times."""
