"""How kernels are jitted, and where their compiled code is kept between processes.

Compiling takes seconds, reading what was compiled takes milliseconds. Numba's own disk cache looks
at the source of one function only (callees and globals are frozen into what it keeps), has an index
that two processes can set against each other, fails where nothing is writable, and cannot keep
closures over jitted functions. Here each compiled signature is one file, named by a hash of all
that its code depends on, and its content is checked by a hash before it is used. What cannot be
read or written is compiled as if there were no cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import pickle
import platform
import sys
import uuid
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeVar

from numba import njit

from lrbackends._host import cache_directory

F = TypeVar("F", bound=Callable[..., Any])

_DIGEST = hashlib.sha256().digest_size
_PACKAGE = __name__.partition(".")[0]
# What no backend may import: changes there change no compiled code.
_BELOW = ("benchmarking", "equivalence", "report", "testing", "cli.py", "_cli_options.py")


def jit(*, allocates: bool = False, **options: Any) -> Callable[[F], F]:
    """Return the decorator that jits a part of a kernel; it releases the GIL.

    It divides as NumPy does: Python's test for zero keeps a loop out of the vector lanes. Unless it
    ``allocates`` arrays it does not count references to them either, which costs a small problem
    more than its arithmetic; the caller's references last.
    """
    switches: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": allocates}
    decorator: Callable[[F], F] = njit(**switches | options)
    return decorator


def entry(function: F, *, allocates: bool = False) -> F:
    """Jit a function that Python calls, and keep its compiled code on disk.

    Its code may depend on its closure and on constants of this package, and on nothing else that
    can change.
    """
    dispatcher: Any = jit(allocates=allocates)(function)
    identity = _identity(function)
    if identity is not None and hasattr(dispatcher, "_cache"):  # plain Python has none
        dispatcher._cache = _DiskCache(identity)
    jitted: F = dispatcher
    return jitted


def _identity(function: Any) -> str | None:
    """Describe all that a function's code depends on beside the package's sources; None: unknown.

    The update rules are the case in point: they come from outside and end up in the steps' code.
    """
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType):
        return None
    code = function.__code__
    if not function.__module__.startswith(f"{_PACKAGE}."):
        used = inspect.getclosurevars(function)
        inner = any(isinstance(constant, CodeType) for constant in code.co_consts)
        if used.globals or inner or function.__defaults__ or function.__kwdefaults__:
            return None
    cells = [_identity(cell.cell_contents) for cell in function.__closure__ or ()]
    if None in cells:
        return None
    body = code.co_code, code.co_names, code.co_varnames
    consts = [c for c in code.co_consts if not isinstance(c, CodeType)]
    return repr((function.__module__, function.__qualname__, body, consts, cells))


def _fingerprint(package: Path) -> bytes:
    """Return a hash of a package's sources and of what compiles them."""
    digest = hashlib.sha256()
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(f"{name} {version(name)}\n".encode())
    digest.update(f"{sys.version} {platform.platform()}\n".encode())
    for name, value in sorted(os.environ.items()):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"{name}={value}\n".encode())
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in _BELOW:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package)} {content}\n".encode())
    return digest.digest()


@cache
def _current() -> bytes:
    return _fingerprint(Path(__file__).parent.parent)


def directory() -> Path:
    """Return where compiled code is kept: NUMBA_CACHE_DIR, or in the user's cache directory."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "lrbackends"
    return cache_directory() / "numba"


class _DiskCache:
    """What a Numba dispatcher asks for compiled code, in place of `numba.core.caching.Cache`."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    @property
    def cache_path(self) -> str:
        """Directory of the files; Numba's statistics show it."""
        return str(directory())

    def flush(self) -> None:
        """Do nothing: no file is ever out of date."""

    def _file(self, signature: Any, codegen: Any) -> Path:
        # The target's triple, processor and its features; the types that the code is for.
        key = repr((self._identity, codegen.magic_tuple(), signature))
        if " at 0x" in key:
            raise ValueError("a type is described by its address, which says nothing")
        name = hashlib.sha256(_current() + key.encode()).hexdigest()
        return directory() / f"{name}.nbc"

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled code, or None where there is none that can be used."""
        from numba.core.compiler import CompileResult

        rebuild: Callable[..., Any] = CompileResult._rebuild
        target.refresh()
        # Whatever is wrong with a file, or with how this version of Numba reads it: compile.
        with contextlib.suppress(Exception):
            content = self._file(signature, target.codegen()).read_bytes()
            digest, data = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(data).digest() == digest:
                return rebuild(target, *pickle.loads(data))
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep compiled code, where that is possible."""
        from numba.core import serialize

        dumps: Callable[..., bytes] = serialize.dumps
        if compiled.library.has_dynamic_globals or compiled.lifted:
            return
        with contextlib.suppress(Exception):
            path, data = self._file(signature, compiled.codegen), dumps(compiled._reduce())
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{uuid.uuid4().hex}")  # others may write it at this moment
            try:
                fresh.write_bytes(hashlib.sha256(data).digest() + data)
                fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
