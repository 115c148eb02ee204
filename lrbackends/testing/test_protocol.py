"""A backend has the shape that `backends.protocol` gives it, and answers in plain NumPy."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from lrbackends.backends.protocol import (
    API_VERSION,
    Backend,
    Batches,
    Capabilities,
    HessianKernels,
    Kernels,
    State,
    initial_state,
    pack,
)
from lrbackends.equivalence import problems
from lrbackends.equivalence.problems import DTYPES, Setting
from lrbackends.objective import Params
from lrbackends.solvers import UpdateRule
from lrbackends.testing.evidence import part
from lrbackends.testing.kit import claimed


def test_it_has_a_name_and_this_version_of_the_protocol(backend: Backend) -> None:
    """It is called what it is registered as, and was written for this API version."""
    assert isinstance(backend, Backend), "it lacks name, api_version, capabilities or compile"
    assert backend.api_version == API_VERSION
    assert isinstance(backend.name, str), f"name is {backend.name!r}"
    assert backend.name, "name is empty"


def test_its_name_is_the_registered_one(backend: Backend, address: str) -> None:
    """Reports, and other processes that look for it by name, mean the same backend."""
    registered = address if ":" not in address else backend.name
    assert backend.name == registered, f"it calls itself {backend.name!r}, not {registered!r}"


def test_capabilities_are_plain_values_that_do_not_change(backend: Backend) -> None:
    """What it claims is the same at each look, and nobody can change it."""
    can = backend.capabilities()
    assert type(can) is Capabilities, f"capabilities() returns {can!r}"
    assert backend.capabilities() == can, "two looks give different claims"
    for field in fields(Capabilities):
        value = getattr(can, field.name)
        kind = tuple if field.name in ("dtypes", "devices") else bool
        assert type(value) is kind, f"{field.name} is {value!r}, not a {kind.__name__}"
    unknown = set(can.dtypes) - set(DTYPES)
    assert not unknown, f"dtypes are of {', '.join(DTYPES)}; {unknown} is unknown"
    assert can.devices, "devices is empty"
    assert all(isinstance(device, str) for device in can.devices)


def test_it_computes_in_float64(backend: Backend) -> None:
    """That is the type in which backends are compared; others come on top."""
    assert "float64" in backend.capabilities().dtypes


def test_kernels_are_complete(backend: Backend) -> None:
    """Compiling gives kernels with every function of the protocol."""
    for setting in _settings(backend):
        kernels = part(backend).compile(backend, setting)
        assert isinstance(kernels, Kernels), f"{setting.name}: a function of Kernels is missing"
        if backend.capabilities().hessian:
            assert isinstance(kernels, HessianKernels), (
                f"{setting.name}: hessian is claimed, but a function of HessianKernels is missing"
            )


def test_evaluations_are_plain_numpy_of_the_right_shape_and_type(backend: Backend) -> None:
    """A loss is a float; gradients and scores are arrays of the type that is computed in."""
    for setting in _settings(backend):
        kernels, problem = part(backend).compile(backend, setting), setting.problem
        n, p, K, dtype = problem.n_samples, problem.n_features, problem.n_outputs, problem.dtype
        loss, gradient = kernels.loss_gradient(setting.params)
        _assert_float(kernels.loss(setting.params), f"{setting.name}: loss()")
        _assert_float(loss, f"{setting.name}: the loss of loss_gradient()")
        assert isinstance(gradient, Params), f"{setting.name}: the gradient is not a Params"
        _assert_array(gradient.coef, (K, p), dtype, f"{setting.name}: the gradient's coef")
        _assert_array(gradient.intercept, (K,), dtype, f"{setting.name}: its intercept")
        for rows, count in ((problem.X, n), (problem.X[:3], 3)):
            scores = kernels.decision_function(rows, setting.params)
            shape = (count,) if K == 1 else (count, K)
            _assert_array(scores, shape, dtype, f"{setting.name}: decision_function()")


@claimed("hessian")
def test_second_derivatives_are_plain_numpy_of_the_right_shape_and_type(backend: Backend) -> None:
    """Hessians are float64; products with them have the form and type of gradients."""
    for setting in _settings(backend):
        kernels, params = part(backend).compile(backend, setting), setting.params
        assert isinstance(kernels, HessianKernels)
        size, problem, name = len(pack(params)), setting.problem, setting.name
        wide = np.dtype(np.float64)
        _assert_array(kernels.hessian(params), (size, size), wide, f"{name}: hessian()")
        loss, gradient, hessian = kernels.loss_gradient_hessian(params)
        _assert_float(loss, f"{name}: the loss of loss_gradient_hessian()")
        assert isinstance(gradient, Params), f"{name}: the gradient is not a Params"
        _assert_array(hessian, (size, size), wide, f"{name}: loss_gradient_hessian()")
        product = kernels.hessian_product(params, params)
        for found, given in zip(product, params, strict=True):
            _assert_array(found, given.shape, problem.dtype, f"{name}: hessian_product()")


def test_training_returns_plain_numpy_of_the_right_shape_and_type(backend: Backend) -> None:
    """A run gives a state of vectors like those it was given, and two numbers a step."""
    for setting in _settings(backend):
        kernels, rule = part(backend).compile(backend, setting), UpdateRule("gd", 0.01)
        size, dtype = len(pack(setting.params)), setting.problem.dtype
        some = Batches(np.array([[0, 1, 2], [3, 4, 0]]), np.array([3, 2]))
        for name, batches in ((setting.name, None), (f"{setting.name}, mini-batches", some)):
            state, records = kernels.run(rule, initial_state(setting.params), 2, batches)
            assert isinstance(state, State), f"{name}: run() returns no State"
            for word, vector in zip(State._fields[:4], state[:4], strict=True):
                _assert_array(vector, (size,), dtype, f"{name}: {word} after run()")
            assert isinstance(state.step, int), f"{name}: step is {state.step!r}"
            _assert_array(records, (2, 2), np.dtype(np.float64), f"{name}: records of run()")


def test_no_steps_compile_only(backend: Backend) -> None:
    """With ``n_steps=0`` a run returns the state as it was and no records."""
    nothing = Batches(np.zeros((0, 4), np.int64), np.zeros(0, np.int64))
    for setting in _settings(backend):
        kernels, start = part(backend).compile(backend, setting), initial_state(setting.params)
        for name in ("gd", "adam"):
            for batches in (None, nothing):
                state, records = kernels.run(UpdateRule(name, 0.01), start, 0, batches)
                assert state.step == 0, f"{name}: step is {state.step}"
                assert records.shape == (0, 2), f"{name}: records have shape {records.shape}"
                for found, given in zip(state[:4], start[:4], strict=True):
                    assert np.array_equal(found, given), f"{name}: the state has changed"


def _settings(backend: Backend) -> list[Setting]:
    """Return a small problem of each kind that the backend claims."""
    names = ("random w", "3 classes, random w")
    found = [
        setting
        for dtype in backend.capabilities().dtypes
        for setting in problems.points(dtype)
        if setting.name in names and part(backend, _kind(setting)).covers(backend, setting)
    ]
    assert found, "it covers no problem of two classes in float64 or float32"
    return found


def _kind(setting: Setting) -> str:
    return "multinomial" if setting.problem.n_outputs > 1 else setting.problem.dtype.name


def _assert_float(value: Any, what: str) -> None:
    assert isinstance(value, float), f"{what} is a {type(value).__name__}, not a float"


def _assert_array(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    assert type(value) is np.ndarray, f"{what} is a {type(value).__name__}, not a NumPy array"
    assert value.shape == shape, f"{what} has shape {value.shape}, not {shape}"
    assert value.dtype == dtype, f"{what} is {value.dtype}, not {dtype}"
