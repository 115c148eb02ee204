"""The cumulative per-sample form and the vectorised form of the gradient are the same numbers.

Takes the first step of logistic regression (w = 0, b = 0) and a later one, on handwritten digits 0
and 1, in three ways: the derivation's loop over the samples, whole matrices, and `jax.grad` of the
cross-entropy. Run it with ``python examples/two_forms.py``.
"""

from __future__ import annotations

import numpy as np

import lrbackends as lrb
from lrbackends.datasets import load_dataset


def cumulative(X, y, w, b):
    """Return dw and db, added up sample by sample as in the derivation."""
    dw, db = np.zeros_like(w), 0.0
    for x, target in zip(X, y, strict=True):
        z = x @ w + b
        a = 1 / (1 + np.exp(-z))
        dz = a - target  # d(cross-entropy)/dz by the chain rule
        dw += dz * x
        db += dz
    return dw / len(y), db / len(y)


def vectorised(X, y, w, b):
    """Return dw and db by two matrix products."""
    z = X @ w + b
    a = 1 / (1 + np.exp(-z))
    dz = a - y
    return X.T @ dz / len(y), dz.mean()


def main() -> None:
    """Print the largest difference of each form and backend to the cumulative form."""
    data = load_dataset("digits01")
    X, y = data.X_train, data.y_train
    problem = lrb.Problem(X, y)
    trained = lrb.Trainer("numpy", l2=1e-3, epochs=50).fit(X, y)
    for when, params in (
        ("at zeros", (np.zeros(X.shape[1]), 0.0)),
        ("after 50 steps", (trained.coef[0], trained.intercept[0])),
    ):
        dw, db = cumulative(X, y, *params)
        print(f"{when}: db = {db:+.6f}, largest |dw| = {np.abs(dw).max():.6f}")
        others = {"vectorised": vectorised(X, y, *params)}
        for name in ("numba", "numpy", "jax"):
            kernels = lrb.get_backend(name).compile(problem, lrb.Objective())
            gradient = kernels.loss_gradient(params)[1]
            others[f"{name} backend"] = gradient.coef[0], gradient.intercept[0]
        for name, (dw_other, db_other) in others.items():
            apart = max(np.abs(dw_other - dw).max(), abs(db_other - db))
            print(f"  {name:<14} differs by at most {apart:.1e}")


if __name__ == "__main__":
    main()
