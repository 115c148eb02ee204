"""What the cost model predicts, how it is kept, and what is chosen by it."""

import json
import math
import sys
from dataclasses import replace

import pytest

from lrbackends import _backend_choice, _cost_model, _cost_store
from lrbackends._backend_choice import by_model, choose_backend
from lrbackends._cost_model import (
    MANY,
    Cost,
    CostModel,
    Curve,
    EngineCosts,
    Work,
    note,
    work_of,
)

WORK = work_of((1000, 10), 1, 10_000, "float64", False, "gd", 100)
FLAT = Curve((1e-3, 0.0, 0.0, 0.0))


def engine(module, imported=0.0, wake=0.0, load=0.0, compile=0.0, step=FLAT, kind=WORK.kind):
    cost = Cost(FLAT, step, math.inf, load, compile)
    return EngineCosts(module, imported, wake, {kind: cost})


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache directory of each test's own, and a process that has done nothing yet."""
    monkeypatch.setenv("LRBACKENDS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_cost_model, "_done", set())
    return tmp_path / "cache"


@pytest.fixture
def model():
    """Made-up costs: numpy 101 ms; numba 11 ms and 0.5 s to start; jax a tenth and 2 s."""
    per_step = {"json": 1e-3, "not_imported_1": 1e-4, "not_imported_2": 1e-5}
    starts = {"json": (), "not_imported_1": (0.2, 0.1, 0.15, 0.05), "not_imported_2": (1, 1, 0, 0)}
    return CostModel(
        {
            name: engine(module, *starts[module], step=Curve((seconds, 0.0, 0.0, 0.0)))
            for name, (module, seconds) in zip(
                ("numpy", "numba", "jax"), per_step.items(), strict=True
            )
        }
    )


# -- work


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (((500, 9), 1, 4500, "float64", False, "adam", 5), "rule dense binary float64"),
        (((500, 9), 3, 450, "float32", True, "gd", 5), "rule sparse softmax float32"),
        (((500, 9), 1, 4500, "float64", False, "auto", 5), "newton dense binary float64"),
        (((500, 900), 1, 4500, "float64", True, "auto", 5), "newton-cg sparse binary float64"),
        (((500, 9), 1, 4500, "float64", False, MANY, 5), "many dense binary float64"),
    ],
)
def test_the_kind_says_what_shares_kernels(options, kind):
    assert work_of(*options).kind == kind


def test_auto_with_an_l1_penalty_is_the_solver_for_it():
    work = work_of((500, 9), 1, 4500, "float64", False, "auto", 5, l1=0.1)
    assert work.family == "proximal-newton"


@pytest.mark.parametrize(("batch_size", "family"), [(None, "rule"), (32, "batches"), (500, "rule")])
def test_a_batch_of_all_rows_is_none(batch_size, family):
    work = work_of((500, 9), 1, 4500, "float64", False, "gd", 5, batch_size=batch_size)
    assert work.family == family


def test_no_rows_are_no_error():
    assert work_of((0, 0), 1, 0, "float64", False, "auto", 5).place() == (0.0, 0.0, 0.0)


# -- curves


def test_a_curve_is_its_terms():
    step = Curve((1.0, 2.0, 3.0, 4.0))
    assert step.seconds(WORK) == 1 + 2 * 1000 + 3 * 10_000 + 4 * 10


def test_corrections_hold_where_they_were_measured_and_fade_with_distance():
    far = replace(WORK, n_samples=10**7, n_entries=10**8)
    step = Curve((1.0, 0.0, 0.0, 0.0), (WORK.place(), far.place()), (math.log(4), 0.0))
    between = replace(WORK, n_samples=10**5, n_entries=10**6)
    assert step.seconds(WORK) == pytest.approx(4, rel=1e-3)
    assert step.seconds(far) == pytest.approx(1, rel=1e-3)
    assert step.seconds(between) == pytest.approx(2, rel=1e-3)


def test_a_solver_of_the_optimum_takes_its_usual_steps_and_no_more_than_allowed():
    work = replace(WORK, family="newton", steps=1000)
    five = Curve((1e-3, 0, 0, 0, 0))
    cost = Cost(five, five, 7.0, 0.0, 0.0)
    assert cost.warm(work) == pytest.approx(8e-3)
    assert cost.warm(replace(work, steps=2)) == pytest.approx(3e-3)
    assert cost.warm(replace(work, steps=2, fits=10)) == pytest.approx(30e-3)


# -- predictions and choices


def test_a_start_costs_what_this_process_has_not_done(model, monkeypatch):
    def start():
        return model.predict([WORK])["numba"].start

    assert start() == pytest.approx(0.5)
    monkeypatch.setitem(sys.modules, "not_imported_1", sys)
    assert start() == pytest.approx(0.3)
    note("numba", replace(WORK, family="newton"))  # other work: the backend is awake
    assert start() == pytest.approx(0.2)
    note("numba", replace(WORK, n_samples=7))
    assert start() == pytest.approx(0.05)
    note("numba", WORK)
    assert start() == 0
    assert model.predict([WORK])["jax"].start == 2


def test_works_that_share_a_kind_are_started_once(model):
    twice = model.predict([WORK, WORK])["numba"]
    assert twice.start == pytest.approx(0.5)
    assert twice.warm == pytest.approx(2 * model.predict([WORK])["numba"].warm)


def test_the_choice_is_the_least_in_all_and_says_why(model, monkeypatch):
    monkeypatch.setattr(_backend_choice, "_is_here", lambda _: True)
    short = by_model(model, [WORK])
    assert short.backend == "numpy"
    assert short.reason == (
        "numpy, predicted 101 ms; numba 511 ms (500 ms of it to import and compile), "
        "jax 2 s (2 s of it to import and compile)"
    )
    assert by_model(model, [replace(WORK, steps=2000)]).backend == "numba"
    assert by_model(model, [replace(WORK, steps=10**6)]).backend == "jax"
    for name in ("numba", "jax"):
        note(name, WORK)
    for module in ("not_imported_1", "not_imported_2"):
        monkeypatch.setitem(sys.modules, module, sys)
    assert by_model(model, [WORK]).reason == "jax, predicted 2 ms; numba 11 ms, numpy 101 ms"


def test_an_engine_that_is_gone_is_not_chosen(model):
    assert by_model(model, [replace(WORK, steps=10**6)]).backend == "numpy"


def test_work_that_a_backend_was_not_measured_at_is_not_its(model):
    sparse = replace(WORK, sparse=True)
    assert model.predict([sparse]) == {}
    assert by_model(model, [sparse]) is None
    assert by_model(model, [WORK, sparse]) is None


# -- the file


def test_the_model_comes_back_from_its_file(model, place):
    assert _cost_store.load().reason == "this machine is not calibrated"
    assert _cost_store.save(model, made="today") == place / "calibration.json"
    stored = _cost_store.load()
    assert stored.model == model
    assert (stored.reason, stored.document["made"]) == ("", "today")
    assert [path.name for path in place.iterdir()] == ["calibration.json"]


def test_the_file_is_read_once(model, monkeypatch):
    _cost_store.save(model)
    first = _cost_store.load().model
    monkeypatch.setattr(_cost_store, "from_document", None)
    assert _cost_store.load().model is first


def edited(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


DAMAGES = {
    "no JSON": lambda path: path.write_text("{"),
    "half": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe"),
    "a list": lambda path: path.write_text("[]"),
    "a number": lambda path: path.write_text("3"),
    "no backends": lambda path: edited(path, lambda d: d.pop("backends")),
    "negative": lambda path: edited(path, lambda d: d["backends"]["numpy"].update({"wake": -1})),
    "a word": lambda path: edited(path, lambda d: d["backends"]["numpy"].update({"import": "x"})),
    "infinite": lambda path: edited(
        path, lambda d: d["backends"]["numpy"].update({"wake": float("inf")})
    ),
    "coefficients": lambda path: edited(
        path,
        lambda d: d["backends"]["numpy"]["kinds"][WORK.kind]["step"].update({"coefficients": [1]}),
    ),
    "places": lambda path: edited(
        path, lambda d: d["backends"]["numpy"]["kinds"][WORK.kind]["step"].update({"places": [[1]]})
    ),
    "machine": lambda path: edited(path, lambda d: d.update({"machine": None})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_as_none(model, damage):
    path = _cost_store.save(model)
    DAMAGES[damage](path)
    stored = _cost_store.load()
    assert stored.model is None
    assert stored.reason == f"the calibration in {path} is damaged"
    choice = choose_backend(WORK)
    assert choice.backend == "numpy"
    assert choice.reason.endswith(f"is damaged; `{_cost_store.COMMAND}` measures it)")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda m: m.update({"cpu": "Z80"}), "processor Z80 then"),
        (lambda m: m.update({"cores": 999}), "cores 999 then"),
        (lambda m: m["versions"].update({"numpy": "1.0"}), "numpy 1.0 then"),
        (lambda m: m["versions"].pop("jax"), "jax missing then"),
    ],
)
def test_measurements_of_another_machine_are_not_used(model, edit, reason):
    path = _cost_store.save(model)
    edited(path, lambda document: edit(document["machine"]))
    stored = _cost_store.load()
    assert stored.model is None
    assert stored.reason.startswith(f"the calibration is of another machine: {reason}")


def test_another_schema_is_not_used(model):
    edited(_cost_store.save(model), lambda document: document.update({"schema": 99}))
    assert _cost_store.load().reason == "the calibration is of another version of lrbackends"


def test_a_directory_that_cannot_be_made_is_named(place, model):
    place.write_text("a file")
    with pytest.raises(OSError, match=r"cannot be kept in .*cache .*set LRBACKENDS_CACHE_DIR"):
        _cost_store.save(model)
    assert choose_backend(WORK).backend == "numpy"


# -- the choice that estimators ask for


def test_with_a_model_it_decides(model):
    _cost_store.save(model)
    choice = choose_backend(WORK)
    assert choice.backend == "numpy"
    assert choice.reason.startswith("numpy, predicted 101 ms; numba 511 ms")
    assert choice.predicted["jax"].total == pytest.approx(2.002, abs=1e-3)


def test_what_the_model_does_not_cover_is_decided_by_the_rule(model):
    _cost_store.save(model)
    assert choose_backend(WORK, "n_threads=2").reason == (
        "numpy, by the rule that fewer than 5e7 entries of X are read "
        "(the calibration does not cover n_threads=2)"
    )
    sparse = replace(WORK, sparse=True, n_entries=10**6)
    assert choose_backend(sparse) == (
        "numba",
        "numba, by the rule that at least 5e7 entries of X are read "
        "(no backend is calibrated for rule sparse binary float64)",
        {},
    )


def test_asking_is_quick_and_imports_no_engine(model, monkeypatch):
    _cost_store.save(model)
    choose_backend(WORK)
    for name in ("numba", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
    assert choose_backend(WORK).backend == "numpy"


def test_all_terms_of_all_families_are_positive():
    for family in ("rule", "batches", MANY, "newton", "lbfgs", "sampled-newton"):
        work = Work(100, 5, 3, 500, family=family, batch_size=10)
        assert all(term > 0 for term in work.terms())
