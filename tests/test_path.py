"""The regularisation path: each of its points is the fit that it would be alone."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

import lrbackends as lrb
from lrbackends.path import first_C


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_points_are_single_fits(backend_name, breast_cancer, l1_ratio):
    Cs = [1.0, 0.01, 0.1]  # in any order
    path = lrb.regularisation_path(
        *breast_cancer, Cs, l1_ratio=l1_ratio, backend=backend_name, gap=1e-9
    )
    assert path.statuses.tolist() == ["converged"] * 3
    assert (path.gaps <= 1e-9).all()
    assert path.coefs.shape == (3, 1, 30)
    for k, C in enumerate(Cs):
        strength = 1 / (C * 569)
        alone = lrb.Trainer(
            backend_name,
            "auto",
            l1=l1_ratio * strength,
            l2=(1 - l1_ratio) * strength,
            gap=1e-9,
        ).fit(*breast_cancer)
        assert path.losses[k] == pytest.approx(alone.loss, rel=2e-9)
        assert path.coefs[k] == pytest.approx(alone.coef, abs=2e-3)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_more_classes_without_an_intercept(backend_name, l1_ratio):
    X, y = load_iris(return_X_y=True)
    path = lrb.regularisation_path(
        X, y, [0.1, 1.0], l1_ratio=l1_ratio, backend=backend_name, fit_intercept=False
    )
    assert path.coefs.shape == (2, 3, 4)
    assert not path.intercepts.any()
    strength = 1 / (1.0 * len(y))
    alone = lrb.Trainer(
        backend_name,
        "auto",
        l1=l1_ratio * strength,
        l2=(1 - l1_ratio) * strength,
        fit_intercept=False,
        gap=1e-8,
    ).fit(X, y)
    assert path.losses[1] == pytest.approx(alone.loss, rel=2e-6)
    assert path[1].predict(X).shape == (150,)


def test_values_are_chosen_from_where_all_weights_are_0(breast_cancer):
    path = lrb.regularisation_path(*breast_cancer, 5, l1_ratio=1.0, backend="numpy")
    assert path.Cs[-1] / path.Cs[0] == pytest.approx(1e4)
    assert path.n_nonzero[0] == 0
    beyond = path.Cs[0] * 1.05
    assert lrb.regularisation_path(
        *breast_cancer, [beyond], l1_ratio=1.0, backend="numpy", gap=1e-9
    ).n_nonzero.tolist() == [1]


def test_the_first_value_of_more_classes():
    X, y = load_iris(return_X_y=True)
    C = first_C(lrb.Problem(X, y), 1.0)
    fit = {
        size: lrb.regularisation_path(X, y, [size * C], l1_ratio=1.0, backend="numpy", gap=1e-9)
        for size in (0.99, 1.05)
    }
    assert not fit[0.99].coefs.any()
    assert fit[1.05].coefs.any()


def test_warm_starts_save_passes(breast_cancer):
    Cs = np.geomspace(0.01, 1, 12)
    options = {"l1_ratio": 1.0, "backend": "numpy", "gap": 1e-6}
    path = lrb.regularisation_path(*breast_cancer, Cs, **options)
    alone = [lrb.regularisation_path(*breast_cancer, [C], **options).n_passes[0] for C in Cs]
    assert path.n_passes.sum() < sum(alone)


def test_the_kernels_are_compiled_once(noisy, monkeypatch):
    backend = lrb.get_backend("numpy")
    seen = []

    class Counting(type(backend)):
        def compile(self, *arguments):
            seen.append(arguments)
            return super().compile(*arguments)

    lrb.regularisation_path(*noisy, 7, l1_ratio=0.3, backend=Counting())
    assert len(seen) == 1


def test_no_penalty_at_the_end(noisy):
    path = lrb.regularisation_path(*noisy, [1.0, np.inf], backend="numpy", gap=1e-9)
    free = lrb.Trainer("numpy", "newton").fit(*noisy)
    assert path.losses[1] == pytest.approx(free.loss, rel=1e-9)


def test_what_is_not_reached_is_warned_of(breast_cancer):
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 values, the first is C=1 \(completed\)"):
        path = lrb.regularisation_path(*breast_cancer, [1.0, 10.0], backend="numpy", max_steps=1)
    assert (path.gaps > 1e-6).all()


def test_it_can_be_drawn(breast_cancer):
    path = lrb.regularisation_path(*breast_cancer, 3, backend="numpy")
    lines = path.plot().axes[0].lines
    assert len(lines) == 30
    assert lines[4].get_ydata() == pytest.approx(path.coefs[:, 0, 4])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"Cs": 0}, ValueError, "Cs must be a finite number >= 1"),
        ({"Cs": [1.0, 0.0]}, ValueError, r"Cs\[1\] must be a finite number > 0"),
        ({"Cs": []}, ValueError, "Cs must be a number of values or a list"),
        ({"l1_ratio": 2.0}, ValueError, "l1_ratio"),
        ({"gap": -1.0}, ValueError, "gap"),
        ({"backend": "jax", "n_threads": 2}, ValueError, "n_threads=2"),
    ],
)
def test_options_are_checked(noisy, options, error, message):
    with pytest.raises(error, match=message):
        lrb.regularisation_path(*noisy, **({"backend": "numpy"} | options))
