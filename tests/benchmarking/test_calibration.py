"""From measurements to the cost model: made-up ones, and a small real calibration."""

import json
import math

import pytest

from lrbackends import _cost_model, _cost_store
from lrbackends._backend_choice import choose_backend
from lrbackends._cost_model import MANY, Work
from lrbackends.benchmarking import calibration
from lrbackends.benchmarking.calibration import (
    CASES,
    Case,
    Cell,
    Measured,
    begun_with,
    calibrate,
    curve,
    in_turn,
    model_of,
    usual,
)
from lrbackends.benchmarking.calibration_worker import made
from lrbackends.report.calibration import as_text

SMALL = (Case("gd", 40, 3, steps=3), Case("newton", 40, 3), Case("gd", 80, 2, steps=3))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("LRBACKENDS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_cost_model, "_done", set())
    return tmp_path


# -- what is measured


def test_every_kind_that_auto_meets_is_measured():
    kinds = {case.work("float64").kind for case in CASES}
    for solver in ("gd", "auto"):
        for shape in ((500, 20), (500, 2000), (300_000, 20), (20_000, 400)):
            for K in (1, 4):
                for sparse in (False, True):
                    work = _cost_model.work_of(shape, K, 5000, "float64", sparse, solver, 10)
                    assert work.kind in kinds
    assert f"{MANY} dense binary float64" in kinds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_is_what_auto_would_take(case):
    if case.seeks and case.solver != "proximal-newton":
        asked = Case("auto", case.n_samples, case.n_features, case.n_classes, case.density)
        assert asked.work("float64").family == case.solver


def test_the_first_case_of_each_kind_comes_first():
    assert in_turn(SMALL, 2) == list(SMALL)
    assert in_turn((SMALL[0], SMALL[2], SMALL[1]), 2) == list(SMALL)
    assert in_turn(SMALL, 1) == list(SMALL[:2])


def test_processes_begin_with_different_kinds_and_go_on_with_another_shape():
    a, b, c = SMALL
    assert begun_with(SMALL, 0) == [a, c, b]
    assert begun_with(SMALL, 1) == [b, a, c]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_the_data_are_as_the_case_says(n_classes, density):
    X, y = made(Case("gd", 200, 30, n_classes, density).job(), "float32")
    assert X.shape == (200, 30)
    assert X.dtype == "float32"
    assert sorted(set(y.tolist())) == list(range(n_classes))
    assert hasattr(X, "nnz") == (density < 1)


# -- fitting


def works(*sizes):
    return [Case("gd", n, p).work("float64") for n, p in sizes]


def cost(coefficients, work):
    return sum(c * t for c, t in zip(coefficients, work.terms(), strict=True))


SHAPES = works((100, 5), (1000, 50), (20_000, 20), (500, 400), (60_000, 3))


@pytest.mark.parametrize("factor", [0.01, 1, 30])
@pytest.mark.parametrize("n_shapes", [1, 2, 5])
def test_a_curve_recovers_costs_in_the_usual_proportions_from_any_number_of_shapes(
    factor, n_shapes
):
    like = usual("rule")[1]
    true = [factor * c for c in like]
    found = curve(SHAPES[:n_shapes], [cost(true, w) for w in SHAPES[:n_shapes]], like)
    assert found.coefficients == pytest.approx(true)
    assert found.corrections == pytest.approx([0.0] * n_shapes, abs=1e-12)


def test_a_curve_learns_other_proportions_from_enough_shapes():
    true = (2e-6, 3e-8, 5e-11, 7e-8)
    found = curve(SHAPES, [cost(true, w) for w in SHAPES], usual("rule")[1])
    for work in works((7000, 70), (300, 30), (100_000, 10)):
        assert found.seconds(work) == pytest.approx(cost(true, work), rel=0.2)
    assert cost(true, work) > 2 * cost(usual("rule")[1], work)


def test_a_curve_passes_what_was_measured_whatever_it_is():
    seconds = [3e-3, 1e-3, 9e-3, 2e-3, 5e-3]
    found = curve(SHAPES, seconds, usual("rule")[1])
    assert min(found.coefficients) >= 0
    assert [found.seconds(w) for w in SHAPES] == pytest.approx(seconds, rel=0.02)


def test_usual_costs_have_a_coefficient_for_each_term():
    for case in CASES:
        work = case.work("float64")
        assert {len(like) for like in usual(work.family)} == {len(work.terms())}


def cell(case, dtype="float64", first=1.0, warm=0.01):
    return Cell(case.work(dtype), first, warm, 1.1 * warm, 0.8 * warm, 4)


def test_costs_of_the_start_are_told_apart():
    """import 0.3, get_backend 0.1, once 0.5, each kind 0.2, each shape 0.05."""
    a, b, c = SMALL[0], SMALL[1], SMALL[2]
    in64 = [cell(a, first=0.761), cell(b, first=0.261), cell(c, first=0.061)]
    in32 = [cell(b, "float32", first=0.761), cell(a, "float32", first=0.261)]
    found = {
        "made-up": {
            "float64": Measured(0.3, 0.1, tuple(in64)),
            "float32": Measured(0.4, 0.2, tuple(in32)),
        }
    }
    engine = model_of(found, {"made-up": "nothing"}).engines["made-up"]
    assert (engine.module, engine.imported) == ("nothing", 0.3)
    assert engine.wake == pytest.approx(0.6)
    for cost in engine.costs.values():
        assert cost.load == pytest.approx(0.2)
        assert cost.compile == pytest.approx(0.05)
    assert engine.costs[a.work("float64").kind].steps == math.inf
    assert engine.costs[b.work("float64").kind].steps == 4


def test_where_one_shape_was_measured_every_new_one_is_taken_to_cost_as_much():
    cells = (cell(SMALL[0], first=0.501), cell(SMALL[1], first=0.401))
    engine = model_of({"x": {"float64": Measured(0.3, 0.1, cells)}}, {"x": "x"}).engines["x"]
    assert [cost.load for cost in engine.costs.values()] == [0, 0]
    assert [cost.compile for cost in engine.costs.values()] == pytest.approx([0.39, 0.39])
    assert engine.wake == pytest.approx(0.1 + 0.1)
    alone = model_of({"x": {"float64": Measured(0.3, 0.1, cells[:1])}}, {"x": "x"}).engines["x"]
    assert alone.wake == 0.1
    assert alone.costs[cells[0].work.kind].compile == pytest.approx(0.49)


def test_a_backend_that_was_not_measured_is_left_out():
    found = {"a": {}, "b": {"float64": Measured(0.0, 0.0, ())}}
    assert model_of(found, {"a": "a", "b": "b"}).engines == {}


# -- the whole


def test_a_calibration_of_this_machine(place):
    seen = []
    path = calibrate(
        seconds=20.0,
        backends=["numpy"],
        cases=SMALL,
        progress=lambda *step: seen.append(step),
    )
    assert path == place / "calibration.json"
    stored = _cost_store.load()
    kinds = stored.model.engines["numpy"].costs
    assert set(kinds) == {case.work(d).kind for case in SMALL for d in calibration.DTYPES}
    work = SMALL[0].work("float64")
    choice = choose_backend(work)
    assert choice.backend == "numpy"
    assert choice.reason.startswith("numpy, predicted ")
    assert 0 < kinds[work.kind].warm(work) < 1
    assert seen[-1] == (6, 6, "")
    labels = [step[2] for step in seen[:-1]]
    assert labels[:2] == ["numpy float64 try"] * 2
    assert labels[-2:] == ["numpy float64", "numpy float32"]


def test_a_backend_that_dies_is_told_of_and_others_are_kept(place, monkeypatch):
    def run_worker(job, timeout, module):
        if job["backend"] == "numba":
            return {"status": "failed", "reason": "killed by SIGKILL"}
        cells = [
            {"number": k, "first": 0.5, "warm": 0.1, "slow": 0.1, "run": 0.05, "steps": 3}
            for k in range(len(job["cases"]))
        ]
        return {"status": "completed", "import": 0.2, "ready": 0.1, "cells": cells}

    monkeypatch.setattr(calibration, "run_worker", run_worker)
    calibrate(backends=["numpy", "numba"])
    document = json.loads((place / "calibration.json").read_text())
    assert list(document["backends"]) == ["numpy"]
    assert document["failures"] == [f"numba in {d}: killed by SIGKILL" for d in calibration.DTYPES]
    text = as_text(_cost_store.load())
    assert "Not measured: numba in float64: killed by SIGKILL" in text
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(RuntimeError, match="no backend could be measured: numba in float64"):
        calibrate(backends=["numba"])


def test_only_what_is_kept_on_disk_is_compiled_before(monkeypatch):
    asked = []

    def run_worker(job, timeout, module):
        asked.append((job["backend"], job["dtype"], job["warm"], len(job["cases"])))
        again = asked.count(asked[-1]) > 1
        quick = job["backend"] == "numba" and again
        cells = [
            {
                "number": k,
                "first": 0.02 if quick else 0.9,
                "warm": 0.01,
                "slow": 0.01,
                "run": 0.005,
                "steps": 3,
            }
            for k in range(len(job["cases"]))
        ]
        return {"status": "completed", "import": 0.2, "ready": 0.1, "cells": cells}

    monkeypatch.setattr(calibration, "run_worker", run_worker)
    calibrate(backends=["numba", "jax"])
    kinds = len(in_turn(CASES, 1))
    compiled = {(name, dtype) for name, dtype, warm, n in asked if not warm and n == kinds}
    assert compiled == {("numba", "float64"), ("numba", "float32")}


def test_where_nothing_can_be_written_nothing_is_measured(place, monkeypatch):
    monkeypatch.setattr(calibration, "run_worker", None)
    (place / "file").write_text("")
    monkeypatch.setenv("LRBACKENDS_CACHE_DIR", str(place / "file"))
    with pytest.raises(OSError, match="set LRBACKENDS_CACHE_DIR"):
        calibrate()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": ["cupy"]}, "backend 'cupy' cannot be calibrated: it is unknown"),
        ({"seconds": 0}, "seconds must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(**options)


# -- text


def test_the_text_says_that_nothing_is_stored():
    text = as_text(_cost_store.load())
    assert "this machine is not calibrated; `lrbackends calibrate` measures" in text


def test_work_is_hashable_and_compares():
    assert len({Work(1, 2), Work(1, 2), Work(1, 3)}) == 2
