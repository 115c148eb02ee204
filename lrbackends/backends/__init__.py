"""Engines that train: the protocol, the registry and the three built-in backends."""
