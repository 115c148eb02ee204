"""Kernels of many small problems: a backend's own, or those of the backends that are built in.

Like an engine, the modules of the built-in ones are imported when they are used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from lrbackends.backends.protocol import Backend, Batch, BatchBackend, BatchKernels

_BUILT_IN = {
    "lrbackends.backends.numpy_backend.NumpyBackend": "lrbackends.backends.numpy_batch",
    "lrbackends.backends.numba_backend.NumbaBackend": "lrbackends.backends.numba_batch",
    "lrbackends.backends.jax_backend.JaxBackend": "lrbackends.backends.jax_batch",
}

CompileBatch = Callable[[Batch, int | None], BatchKernels]


def batch_compiler(backend: Backend) -> CompileBatch | None:
    """Return what compiles a `Batch` on a backend; None where problems go one after the other."""
    if isinstance(backend, BatchBackend):
        return backend.compile_batch
    # The class itself: one that is derived from it may compute something else.
    module = _BUILT_IN.get(f"{type(backend).__module__}.{type(backend).__qualname__}")
    if module is None:
        return None
    compile_batch: CompileBatch = importlib.import_module(module).compile_batch
    return compile_batch
