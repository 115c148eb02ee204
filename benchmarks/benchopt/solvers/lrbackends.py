"""lrbackends as a solver of benchopt's L2-penalised logistic regression.

Timed is ``Trainer.fit`` from the arrays to the coefficients, at most ``stop_val`` steps from zero,
with all its checks of the data. Importing and compiling come before, in `Solver.pre_run_hook`.
"""

import warnings
from typing import ClassVar

from benchopt import BaseSolver
from sklearn.exceptions import ConvergenceWarning

from lrbackends import Trainer
from lrbackends.errors import BackendUnavailableError, UnsupportedError

WARM_UP_STEPS = 50  # more than a solver with second derivatives takes


class Solver(BaseSolver):
    name = "lrbackends"
    sampling_strategy = "iteration"
    parameters: ClassVar = {
        "backend": ["numpy", "numba", "jax"],
        "solver": ["auto", "gd", "nesterov", "lbfgs", "newton", "newton-cg", "sampled-newton"],
    }
    parameter_template = "{backend} {solver}"

    def skip(self, X, y, lmbd):
        """Refuse what the backend refuses, in its own words."""
        self.set_objective(X, y, lmbd)
        try:
            self.run(1)
        except (BackendUnavailableError, UnsupportedError) as error:
            return True, str(error)
        return False, None

    def set_objective(self, X, y, lmbd):
        """Take over the problem.

        benchopt's objective is a sum over the rows, ours their mean: its penalty is divided by
        their number. It has no intercept.
        """
        self.X, self.y = X, y
        self.options = {"l2": lmbd / len(y), "fit_intercept": False, "random_state": 0}

    def pre_run_hook(self, n_steps):
        """Compile, untimed, by the same run.

        A run of another number of steps would not do: the shortest ones use other kernels.
        """
        self.run(min(n_steps, WARM_UP_STEPS))

    def run(self, n_steps):
        """Train from zero."""
        trainer = Trainer(self.backend, self.solver, epochs=n_steps, **self.options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # steps run out: that is the plan
            self.result = trainer.fit(self.X, self.y)

    def get_result(self):
        """Return the coefficients under the objective's name for them."""
        return {"beta": self.result.coef[0]}
