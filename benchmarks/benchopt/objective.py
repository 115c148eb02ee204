"""The objective of benchopt's benchmark of L2-penalised logistic regression, in the same form.

sum_i log(1 + exp(-y_i x_i' beta)) + lmbd/2 |beta|^2, with y_i = -1 or 1 and no intercept.
"""

from typing import ClassVar

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "L2 logistic regression"
    parameters: ClassVar = {"lmbd": [1.0, 0.01]}

    def set_data(self, X, y):
        self.X, self.y = X, y

    def get_objective(self):
        return {"X": self.X, "y": self.y, "lmbd": self.lmbd}

    def get_one_result(self):
        return {"beta": np.zeros(self.X.shape[1])}

    def evaluate_result(self, beta):
        losses = np.logaddexp(0, -self.y * (self.X @ beta))
        return {"value": losses.sum() + self.lmbd / 2 * (beta @ beta)}
