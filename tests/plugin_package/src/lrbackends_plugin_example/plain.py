"""Logistic regression in plain Python: lists of floats, no engine at all."""

from math import exp, fsum, log1p, sqrt
from operator import mul

import numpy as np
from lrbackends.backends.protocol import (
    API_VERSION,
    Capabilities,
    Coefficients,
    State,
    coefficients_for,
    pack,
    require,
    unpack,
)
from lrbackends.objective import as_params


class PlainBackend:
    """Says what it can do and compiles problems."""

    name = "plain"
    api_version = API_VERSION

    def capabilities(self):
        return Capabilities(dtypes=("float64",))  # nothing else: the rest is refused

    def compile(self, problem, objective, arithmetic="fast", n_threads=None):
        require(self, problem, objective, arithmetic, n_threads)  # refuses what is not claimed
        return PlainKernels(problem, objective)


class PlainKernels:
    """One problem: rows, the sign of each row's class (1 - 2y) and its weight, as lists."""

    def __init__(self, problem, objective):
        self.problem, self.objective = problem, objective
        self.data = tuple(part.tolist() for part in (problem.X, problem.sign, problem.weight))

    def loss(self, params):
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params):
        theta = pack(as_params(params, self.problem)).tolist()
        loss, gradient = self._evaluate(theta, *self.data)
        return loss, unpack(np.array(gradient), self.problem.n_features)

    def decision_function(self, X, params):
        (w,), (b,) = (part.tolist() for part in as_params(params, self.problem))
        return np.array([sum(map(mul, x, w)) + b for x in X.tolist()])

    def run(self, rule, state, n_steps, batches):
        theta, residual, first, second = (vector.tolist() for vector in state[:4])
        records = np.empty((n_steps, 2))
        for t, c in enumerate(coefficients_for(rule, state.step, n_steps, self.objective).tolist()):
            loss, gradient = self._evaluate(theta, *self._rows_of(batches, t))
            records[t] = loss, max(map(abs, gradient))
            moved = [
                rule.update(g, m, v, Coefficients(*c), sqrt)
                for g, m, v in zip(gradient, first, second, strict=True)
            ]
            steps, first, second = zip(*moved, strict=True)
            for j, step in enumerate(steps):  # theta + residual is the sum of all steps
                theta[j], residual[j] = two_sum(theta[j], residual[j] + step)
        vectors = (np.array(v, dtype=float) for v in (theta, residual, first, second))
        return State(*vectors, state.step + n_steps), records

    def _rows_of(self, batches, t):
        """Return rows, signs and weights of step t."""
        if batches is None:
            return self.data
        chosen = batches.indices[t, : batches.sizes[t]].tolist()  # what follows is padding
        return ([part[i] for i in chosen] for part in self.data)

    def _evaluate(self, theta, rows, sign, weight):
        """Return the objective and its gradient, in the steps of `lrbackends.objective`."""
        *w, b = theta
        loss, residuals = 0.0, []
        for x, s, omega in zip(rows, sign, weight, strict=True):
            z = sum(map(mul, x, w)) + b
            m = s * z  # margin form: no digits are lost where the probability is near 1
            e = exp(-abs(m))
            a = (1.0 if m >= 0 else e) / (1.0 + e)
            residuals.append(omega * s * a)  # dz
            loss += omega * (max(m, 0.0) + log1p(e))
        n, l2 = len(residuals), self.objective.l2
        dw = [fsum(map(mul, column, residuals)) for column in zip(*rows, strict=True)]
        db = fsum(residuals)  # fsum rounds once, however many rows there are
        gradient = [g / n + l2 * wj for g, wj in zip(dw, w, strict=True)]
        gradient.append(db / n if self.objective.fit_intercept else 0.0)
        return loss / n + l2 / 2 * sum(map(mul, w, w)), gradient


def two_sum(a, b):
    """Return a + b and its rounding error (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)
