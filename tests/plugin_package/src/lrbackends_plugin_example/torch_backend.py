"""Logistic regression on PyTorch, on CPU: the loss is written down, autograd does the rest."""

import numpy as np
import torch
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

from lrbackends_plugin_example.plain import two_sum


class TorchBackend:
    """PyTorch; where it is missing, `lrbackends backends` shows the ImportError of this module."""

    name = "torch"
    api_version = API_VERSION

    def capabilities(self):
        return Capabilities(dtypes=("float64", "float32"))

    def compile(self, problem, objective, arithmetic="fast", n_threads=None):
        require(self, problem, objective, arithmetic, n_threads)
        return TorchKernels(problem, objective)


class TorchKernels:
    """One problem, its data copied into tensors, which lie at multiples of 64 bytes.

    Where they lie decides how PyTorch's matrix products round; arrays of NumPy may lie anywhere.
    """

    def __init__(self, problem, objective):
        self.problem, self.objective = problem, objective
        self.data = tuple(torch.tensor(part) for part in (problem.X, problem.sign, problem.weight))

    def loss(self, params):
        return self.loss_gradient(params)[0]

    def loss_gradient(self, params):
        loss, gradient = self._evaluate(pack(as_params(params, self.problem)), *self.data)
        return loss, unpack(gradient, self.problem.n_features)

    def decision_function(self, X, params):
        (w,), b = (torch.tensor(part) for part in as_params(params, self.problem))
        return (torch.tensor(X) @ w + b).numpy()

    def run(self, rule, state, n_steps, batches):
        theta, residual, first, second, step = state
        records = np.empty((n_steps, 2))
        for t, c in enumerate(coefficients_for(rule, step, n_steps, self.objective).tolist()):
            loss, gradient = self._evaluate(theta, *self._rows_of(batches, t))
            records[t] = loss, np.abs(gradient).max()
            # The parameters are few, so they stay in NumPy.
            delta, first, second = rule.update(gradient, first, second, Coefficients(*c), np.sqrt)
            theta, residual = two_sum(theta, residual + delta)
        return State(theta, residual, first, second, step + n_steps), records

    def _rows_of(self, batches, t):
        """Return rows, signs and weights of step t."""
        if batches is None:
            return self.data
        chosen = torch.tensor(batches.indices[t, : batches.sizes[t]])  # what follows is padding
        return (part[chosen] for part in self.data)

    def _evaluate(self, theta, X, sign, weight):
        """Return the objective and its gradient at the vector theta."""
        theta = torch.tensor(theta, requires_grad=True)
        w, b = theta[:-1], theta[-1]
        if not self.objective.fit_intercept:
            b = b.detach()
        m = sign * (X @ w + b)
        # Right at m = 0, too, where the derivative of max(m, 0) + log1p(exp(-|m|)) is not.
        losses = -torch.nn.functional.logsigmoid(-m)
        objective = (weight * losses).mean() + self.objective.l2 / 2 * (w @ w)
        (gradient,) = torch.autograd.grad(objective, theta)
        return objective.item(), gradient.numpy()
