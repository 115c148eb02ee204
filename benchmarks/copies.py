"""Copies of backends under other names: equal ones, and ones that are slower by a known share."""

from __future__ import annotations

import time
from typing import Any

from lrbackends import get_backend
from lrbackends.backends.protocol import Capabilities

SLOWER = 0.1


class Copy:
    """A backend under another name."""

    api_version = 1

    def __init__(self, of: str, name: str | None = None) -> None:
        self.name = name or f"{of} again"
        self._right = get_backend(of)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._right.name, self.name)

    def capabilities(self) -> Capabilities:
        return self._right.capabilities()

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        return self._right.compile(*args, **kwargs)


class Slowed(Copy):
    """The same, whose training steps take 10 % longer."""

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        return _Slowed(super().compile(*args, **kwargs))


class _Slowed:
    def __init__(self, kernels: Any) -> None:
        self._kernels = kernels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    def run(self, *args: Any) -> Any:
        began = time.perf_counter()
        answer = self._kernels.run(*args)
        until = began + (1 + SLOWER) * (time.perf_counter() - began)
        while time.perf_counter() < until:
            pass
        return answer
