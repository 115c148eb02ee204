"""Train in the reproducible arithmetic on every backend, and compare the bits of the results.

    python examples/same_bits.py [DATA [STEPS [REPEATS]]]

DATA is what `lrbackends train` takes: digits01 (the default), breast_cancer, or a LIBSVM, npz or
MNIST IDX file (zeros against ones are kept of digits). Prints one hash per backend, of parameters,
residuals, loss history and probabilities, and ends with code 1 where they differ.
"""

import hashlib
import sys
import warnings

import numpy as np

import lrbackends as lrb
from lrbackends.errors import LrbackendsWarning


def main(source="digits01", steps="10000", repeats="1"):
    """Return 0 where all results have the same bits."""
    warnings.simplefilter("ignore", LrbackendsWarning)
    digits = (0, 1) if "idx" in source else None
    data = lrb.load_dataset(source, digits=digits, test_size=0.0)
    found = set()
    for backend, available in lrb.available_backends().items():
        if not available:
            print(f"{backend}: {available.reason}")
            continue
        trainer = lrb.Trainer(backend, epochs=int(steps), arithmetic="reproducible")
        for _ in range(int(repeats)):
            result = trainer.fit(data.X_train, data.y_train)
            parts = (
                *result.params,
                result.state.residual,
                result.history["loss"],
                result.predict_proba(data.X_train),
            )
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in parts))
            found.add(digest.hexdigest())
        print(f"{backend}: {digest.hexdigest()[:16]} after {steps} steps, {repeats} times")
    print("the same bits" if len(found) == 1 else f"{len(found)} different results")
    return int(len(found) != 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
