"""scikit-learn's own checks of an estimator, all of them, on each backend."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import lrbackends as lrb

BACKENDS = ("numpy", "numba", "jax")


@parametrize_with_checks([lrb.LogisticRegression(backend=backend) for backend in BACKENDS])
def test_scikit_learns_contract(estimator, check):
    check(estimator)


class Forgetful(lrb.LogisticRegression):
    """Does not know how many features it was trained on."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        del self.n_features_in_
        return self


def test_the_checks_find_what_breaks_the_contract():
    checks = {
        check.func.__name__: check
        for _, check in estimator_checks_generator(Forgetful(backend="numpy"))
    }
    with pytest.raises(AssertionError):
        checks["check_n_features_in"](Forgetful(backend="numpy"))
