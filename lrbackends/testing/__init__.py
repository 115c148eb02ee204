"""The conformance kit: a backend does what it claims, and refuses what it does not claim.

.. code-block:: sh

    pytest --pyargs lrbackends.testing --backend theirs

runs it on a registered backend, or on ``module:attribute``; ``--backend`` may be given more than
once. `check_backend` runs the same tests without pytest.

The tests are plain functions of a backend in the modules ``test_*``, named after what has to hold.
Capabilities decide which of them concern a backend: a claim that is not met fails, and what is not
claimed has to be refused. The figures are those of `lrbackends.verify`, with the same limits.

Importing this package imports neither pytest nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrbackends.testing.kit import check_backend as check_backend

__all__ = ["check_backend"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lrbackends.testing import kit

    return getattr(kit, name)
