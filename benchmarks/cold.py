"""A fresh process that does one thing for the first time, when told to.

``python cold.py PHASE NAME`` gets ready, prints "ready", waits for a line, does it, prints "done"
and at last a JSON object with what came out. The parent times from its line to "done", so starting
the interpreter and getting ready are not in the time.
"""

import importlib
import json
import sys


def _told() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _import_module(name: str) -> dict:
    _told()
    importlib.import_module(name)
    print("done", flush=True)
    return {"loss": None, "status": "completed"}


def _import_backend(name: str) -> dict:
    """Import a backend's module with its engine, after ``import lrbackends``."""
    import lrbackends

    _told()
    lrbackends.get_backend(name)
    print("done", flush=True)
    return {"loss": None, "status": "completed"}


def _compile(name: str, phase: str) -> dict:
    """Compile the training steps of a small problem, for the first time or for a second shape."""
    import numpy as np

    from lrbackends import Objective, Problem, get_backend
    from lrbackends.backends.protocol import initial_state, unpack
    from lrbackends.objective import as_params
    from lrbackends.solvers import UpdateRule, epoch_batches

    def ready(n: int):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(n, 64))
        problem = Problem(X, X[:, 0] + rng.logistic(size=n) > 0)
        kernels = get_backend(name).compile(problem, Objective(l2=1e-3))
        batches = epoch_batches(n, 32, 0, 0) if phase == "compile_batches_of_32" else None
        none = None if batches is None else type(batches)(batches.indices[:0], batches.sizes[:0])
        start = initial_state(as_params((np.zeros(64), 0.0), problem))
        return lambda: kernels.run(rule, start, 0, none), lambda: after(kernels, start, batches)

    def after(kernels, start, batches) -> float:
        state, _ = kernels.run(rule, start, 10 if batches is None else len(batches.sizes), batches)
        return kernels.loss(unpack(state.theta, 64))

    rule = UpdateRule("gd", 0.05)
    if phase == "compile_second_shape":
        ready(180)[0]()
    compile_it, loss = ready(360)
    _told()
    compile_it()
    print("done", flush=True)
    return {"loss": loss(), "status": "completed"}


def main() -> None:
    phase, name = sys.argv[1:]
    imports = {"import_module": _import_module, "import_backend": _import_backend}
    answer = imports[phase](name) if phase in imports else _compile(name, phase)
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
