"""What users take today, measured beside the backends: scikit-learn's logistic regression.

It is asked for the same optimum with the loosest tolerance of a ladder that reaches it.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lrbackends.backends.protocol import pack
from lrbackends.backends.registry import get_backend
from lrbackends.objective import Objective
from lrbackends.problem import Problem

if TYPE_CHECKING:
    from lrbackends.benchmarking.worker import Fitter

_SOLVERS = {"peer:scikit-learn lbfgs": "lbfgs", "peer:scikit-learn newton": "newton-cholesky"}
PEERS = tuple(_SOLVERS)
NEWTON_FEATURES = 500  # its Hessian is made anew at each step
_LADDER = tuple(10.0**-k for k in range(1, 11))
_MOST_ITERATIONS = 10_000


def suited(n_features: int) -> tuple[str, ...]:
    """Return the peers that suit as many features."""
    return tuple(
        p for p, solver in _SOLVERS.items() if solver == "lbfgs" or n_features <= NEWTON_FEATURES
    )


def load() -> None:
    """Import the library."""
    import sklearn.linear_model  # noqa: F401


def loosest_tolerance(peer: str, X: Any, y: Any, *, l2: float, target: float) -> float:
    """Return the loosest tolerance at which the objective is at most ``target``.

    Parameters
    ----------
    peer : str, of `PEERS`
    X, y : data
    l2 : float
        As in `Objective`, above 0.
    target : float
        Objective to reach, that of `Objective`.

    Returns
    -------
    float
        The tightest of the ladder where none reaches it.
    """
    fitter_of = partial(fitter, peer, l2=l2, target=target)
    for tol in _LADDER:
        fit, read = fitter_of(tol=tol)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if read(fit(X, y), 0.0).entries["status"] == "converged":
                return tol
    return _LADDER[-1]


def fitter(peer: str, *, l2: float, target: float, tol: float) -> Fitter:
    """Return how to train with a peer; see `loosest_tolerance`."""
    from sklearn.linear_model import LogisticRegression

    from lrbackends.benchmarking.worker import Fitter, Read

    def fit(X: Any, y: Any) -> Any:
        model = LogisticRegression(
            C=1 / (len(y) * l2), solver=_SOLVERS[peer], tol=tol, max_iter=_MOST_ITERATIONS
        )
        return model.fit(X, y), X, y

    def read(outcome: Any, seconds: float) -> Read:
        model, X, y = outcome
        entries = _entries(model, *_loss_gradient(model, X, y, l2), target)
        bits = model.coef_.tobytes() + model.intercept_.tobytes()
        return Read(entries, bits, seconds / max(1, entries["n_epochs"]), None, 0.0)

    return Fitter(fit, read)


def _loss_gradient(model: Any, X: Any, y: Any, l2: float) -> tuple[float, float]:
    """Return objective and gradient norm, evaluated outside of what is measured."""
    kernels = get_backend("numpy").compile(Problem(X, y, dtype="float64"), Objective(l2=l2))
    params = (part.astype(np.float64) for part in (model.coef_, model.intercept_))
    loss, gradient = kernels.loss_gradient(tuple(params))
    return loss, float(np.abs(pack(gradient)).max())


def _entries(model: Any, loss: float, norm: float, target: float) -> dict[str, Any]:
    steps = int(np.max(model.n_iter_))
    reached = loss <= target
    return {
        "status": "converged" if reached else "stalled",
        "reason": f"tol={model.tol:g}" + ("" if reached else " does not reach the optimum"),
        "loss": loss,
        "gradient_norm": norm,
        "learning_rate": float("nan"),
        "n_epochs": steps,
        "n_steps": steps,
        "n_passes": float("nan"),
        "curve": [],
        "coef": [[float(v).hex() for v in row] for row in model.coef_],
        "intercept": [float(v).hex() for v in model.intercept_],
    }
