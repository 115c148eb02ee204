"""Fit, watch the loss, ask for probabilities, decide at 0.5: the usual first exercise.

Run it with ``python examples/from_scratch.py [numpy|numba|jax]``.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

import lrbackends as lrb
from lrbackends.callbacks import PrintLoss
from lrbackends.datasets import load_dataset


def main(backend: str = "numba") -> None:
    """Train on tumours, y flat and as a column; print loss, probabilities and accuracy."""
    data = load_dataset("breast_cancer")
    trainer = lrb.Trainer(
        backend, l2=1e-3, learning_rate=0.1, epochs=500, callbacks=[PrintLoss(every=100)]
    )
    model = trainer.fit(data.X_train, data.y_train)

    probabilities = model.predict_proba(data.X_test)[:, 1]
    labels = model.predict(data.X_test, threshold=0.5)
    for p, label, truth in zip(probabilities[:5], labels, data.y_test, strict=False):
        print(f"probability of {model.classes[1]} {p:.3f}: predicted {label}, is {truth}")
    print(f"accuracy {np.mean(labels == data.y_test):.4f} on {len(labels)} test rows")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column of labels is read as flat, with a warning
        again = lrb.Trainer(backend, l2=1e-3, learning_rate=0.1, epochs=500).fit(
            data.X_train, data.y_train.reshape(-1, 1)
        )
    print("y as a column gives the same weights:", np.array_equal(again.coef, model.coef))


if __name__ == "__main__":
    main(*sys.argv[1:])
