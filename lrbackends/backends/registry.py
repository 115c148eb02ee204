"""Names to backends. Registered is not loaded: an engine is imported when its backend is used.

Other packages register a backend by an entry point in the group ``lrbackends.backends`` whose value
names a `Backend` object or a class (or function) that makes one without arguments.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from lrbackends.backends.protocol import API_VERSION, Backend
from lrbackends.errors import BackendUnavailableError, LrbackendsWarning

GROUP = "lrbackends.backends"


@dataclass(frozen=True)
class _Registration:
    target: str  # "module:attribute"
    engine: str | None  # the package whose presence decides, None where loading has to tell
    source: str


_BUILT_IN = {
    "numpy": _Registration("lrbackends.backends.numpy_backend:NumpyBackend", "numpy", "built in"),
    "numba": _Registration("lrbackends.backends.numba_backend:NumbaBackend", "numba", "built in"),
    "jax": _Registration("lrbackends.backends.jax_backend:JaxBackend", "jax", "built in"),
}


@dataclass(frozen=True)
class Available:
    """A backend that can be used here; true in a condition.

    Attributes
    ----------
    name : str
    engine : str
        Engine and its version.
    source : str
        "built in" or the distribution that registered it.
    """

    name: str
    engine: str
    source: str

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True)
class Unavailable:
    """A backend that cannot be used here, and why; false in a condition."""

    name: str
    reason: str
    source: str

    def __bool__(self) -> bool:
        return False


def _registrations() -> dict[str, _Registration]:
    found = dict(_BUILT_IN)
    for point in metadata.entry_points(group=GROUP):
        source = point.dist.name if point.dist is not None else "an entry point"
        if point.name in found:
            warnings.warn(
                f"backend {point.name!r} of {source} is ignored: the name belongs to the one "
                f"that is {found[point.name].source}",
                LrbackendsWarning,
                stacklevel=3,
            )
            continue
        found[point.name] = _Registration(point.value, None, source)
    return found


def _missing(package: str) -> str | None:
    """Return why ``package`` cannot be imported, without importing it, or None."""
    if sys.modules.get(package) is not None:
        return None
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return f"{package} is not installed; pip install {package}"
    return None


@cache
def load(name: str, target: str) -> Backend:
    """Return the backend at ``target``, a "module:attribute"; it is made once.

    Raises
    ------
    BackendUnavailableError
        It fails to load, or is not a backend of this API version.
    """
    module, _, attribute = target.partition(":")
    try:
        made: Any = importlib.import_module(module)
        for part in attribute.split("."):
            made = getattr(made, part)
        backend = made() if callable(made) else made
    except Exception as error:
        raise BackendUnavailableError(
            f"backend {name!r} failed to load from {target}: {type(error).__name__}: {error}"
        ) from error
    version = getattr(backend, "api_version", None)
    if version != API_VERSION:
        raise BackendUnavailableError(
            f"backend {name!r} was written for API version {version}, this is {API_VERSION}"
        )
    if not isinstance(backend, Backend):
        raise BackendUnavailableError(
            f"backend {name!r} lacks name, api_version, capabilities or compile"
        )
    return backend


def module_of(backend: str) -> str | None:
    """Return the name of the module that a registered backend is loaded from, None if unknown."""
    entry = _registrations().get(backend)
    return None if entry is None else entry.target.partition(":")[0]


def available_backends() -> dict[str, Available | Unavailable]:
    """Return every registered backend with whether, and if not why not, it can be used here.

    Built-in engines are looked for but not imported; those of other packages are loaded.

    Examples
    --------
    >>> import lrbackends as lrb
    >>> bool(lrb.available_backends()["numpy"])
    True
    """
    answer: dict[str, Available | Unavailable] = {}
    for name, entry in _registrations().items():
        if entry.engine is not None:
            reason = _missing(entry.engine)
            engine = "" if reason else f"{entry.engine} {metadata.version(entry.engine)}"
        else:
            reason, engine = None, entry.target
            try:
                load(name, entry.target)
            except BackendUnavailableError as error:
                reason = str(error)
        answer[name] = (
            Available(name, engine, entry.source)
            if reason is None
            else Unavailable(name, reason, entry.source)
        )
    return answer


def get_backend(backend: str | Backend) -> Backend:
    """Return the backend of that name, importing its engine; a `Backend` object is returned as is.

    Raises
    ------
    ValueError
        No backend has that name; the message lists those there are.
    BackendUnavailableError
        It is registered but cannot be used here; the message says why.
    """
    if not isinstance(backend, str):
        if isinstance(backend, Backend):
            return backend
        raise TypeError(f"backend must be a name or a Backend object, got {backend!r}")
    # The names of the built-in backends are theirs, so entry points need not be looked up for them.
    known = _BUILT_IN if backend in _BUILT_IN else _registrations()
    if backend not in known:
        close = difflib.get_close_matches(backend, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"backend {backend!r} is unknown; choose from {', '.join(known)}{hint}")
    entry = known[backend]
    reason = _missing(entry.engine) if entry.engine is not None else None
    if reason is not None:
        raise BackendUnavailableError(f"backend {backend!r} is not available: {reason}")
    return load(backend, entry.target)
