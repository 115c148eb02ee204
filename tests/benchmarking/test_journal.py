"""The file that keeps measurements: what it refuses, and how a stopped comparison goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from lrbackends.benchmarking.cells import Cell
from lrbackends.benchmarking.compare import compare
from lrbackends.benchmarking.journal import Journal, fingerprint

from .synthetic import BASE, answer

OF = {"data": "d", "machine": "m", "versions": {"numpy": "2.0"}}
CELL = Cell("a", 60, BASE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


@pytest.fixture
def filled(path):
    """A file of two measurements."""
    journal = Journal(path, OF)
    journal.add(CELL, 0, answer(first=1.0))
    journal.add(CELL, 1, answer(first=2.0))
    return path


# -- the file


def test_measurements_are_found_again_by_cell_and_round(filled):
    found = Journal(filled, OF)
    assert found.answer(CELL, 0) == answer(first=1.0)
    assert found.answer(CELL, 1) == answer(first=2.0)
    assert found.answer(CELL, 2) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, backend="b"),
        replace(CELL, n_samples=61),
        replace(CELL, threads=1),
        replace(CELL, cache="empty"),
        replace(CELL, settings=replace(BASE, dtype="float32")),
    ],
    ids=["backend", "n_samples", "threads", "cache", "settings"],
)
def test_of_another_cell_there_is_nothing(filled, other):
    assert Journal(filled, OF).answer(other, 0) is None


def test_each_measurement_is_in_the_file_before_the_next_one_begins(path):
    journal = Journal(path, OF)
    for k in range(3):
        journal.add(CELL, k, answer())
        assert len(path.read_text().splitlines()) == k + 2


def test_without_a_file_measurements_are_kept_in_memory():
    journal = Journal(None, OF)
    journal.add(CELL, 0, answer())
    assert journal.answer(CELL, 0) == answer()


def test_what_is_not_finite_comes_back(path):
    Journal(path, OF).add(CELL, 0, answer(loss=float("inf"), gradient_norm=float("nan")))
    found = Journal(path, OF).answer(CELL, 0)
    assert found["loss"] == float("inf")
    assert np.isnan(found["gradient_norm"])


@pytest.mark.parametrize("lost", [1, 5, 300])
def test_a_line_that_was_cut_off_is_left_out_and_the_file_can_be_added_to(filled, lost):
    text = filled.read_text()
    filled.write_text(text[:-lost])
    journal = Journal(filled, OF)
    assert journal.answer(CELL, 0) == answer(first=1.0)
    assert journal.answer(CELL, 1) is None
    journal.add(CELL, 1, answer(first=2.0))
    assert filled.read_text() == text


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_is_a_new_one(path, text):
    path.write_text(text)
    Journal(path, OF).add(CELL, 0, answer())
    assert Journal(path, OF).answer(CELL, 0) == answer()


@pytest.mark.parametrize(
    "text",
    ["a,b,c\n1,2,3\n", "no end of line", '{"kind": "something else"}\n', "[1, 2]\n", "7\n"],
)
def test_a_foreign_file_is_refused_and_left_alone(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.jsonl is not a journal of a comparison"):
        Journal(path, OF)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "other"}, "another comparison: data differs; give another file or delete"),
        ({"versions": {"numpy": "2.1"}}, "another comparison: versions differs;"),
        ({"data": "x", "machine": "y"}, "another comparison: data, machine differ;"),
    ],
)
def test_what_belongs_to_something_else_is_refused_by_name(filled, change, message):
    text = filled.read_text()
    with pytest.raises(ValueError, match=message):
        Journal(filled, OF | change)
    assert filled.read_text() == text


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "missing" / "run.jsonl", OF)


# -- fingerprints

X = np.arange(6.0)


@pytest.mark.parametrize(
    "other",
    [X + 1e-15, X.astype(np.float32), X.reshape(2, 3), X[::-1].copy(), X[:5]],
    ids=["value", "type", "shape", "order", "rows"],
)
def test_the_fingerprint_tells_arrays_apart(other):
    assert fingerprint(X) == fingerprint(X.copy())
    assert fingerprint(X) != fingerprint(other)


def test_the_fingerprint_tells_values_apart_but_not_their_order_in_a_mapping():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(X, X + 1) != fingerprint(X + 1, X)


# -- a comparison that is stopped and continued


def by_cell(job, nth):
    """An answer that tells cell and process by its times."""
    of_cell = int(fingerprint(job["backend"], job["options"], job["threads"])[:6], 16) / 2**24
    return answer(first=of_cell + nth, warm=[of_cell, of_cell + 0.01 * nth])


class Killed(Exception):
    pass


def stopping_after(k):
    """Answers by cell; the process after ``k`` is never started."""
    left = iter(range(k))

    def answers(job, nth):
        if next(left, None) is None:
            raise Killed
        return by_cell(job, nth)

    return answers


OPTIONS = {
    "backends": ["a", "b"],
    "epochs": 10,
    "rounds": 2,
    "vary": ["size", "dtype", "arithmetic"],
    "sizes": [20],
}
PROCESSES = 2 * 2 + 2 * 8  # of two backends in two rounds: the base, then the base and three more


def timeless(comparison):
    return replace(comparison, seconds=0.0)


@pytest.mark.parametrize("done", [0, 1, 3, 4, 11, PROCESSES - 1])
def test_a_stopped_comparison_measures_only_what_is_missing(made_up, noisy, path, done):
    """And comes to what it would have come to."""
    jobs = made_up(by_cell)
    whole = compare(*noisy, **OPTIONS)
    planned = [(job["backend"], job["options"]) for job in jobs]
    assert len(planned) == PROCESSES

    # Processes are told by their number, of which the second run starts with none.
    kept = made_up(stopping_after(done))
    with pytest.raises(Killed):
        compare(*noisy, **OPTIONS, journal=path)
    before = [job["backend"] for job in kept[:done]]

    def counting_on(job, nth):
        return by_cell(job, nth + before.count(job["backend"]))

    rest = made_up(counting_on)
    continued = compare(*noisy, **OPTIONS, journal=path)
    assert [(job["backend"], job["options"]) for job in rest] == planned[done:]
    assert timeless(continued) == timeless(whole)


def test_a_finished_comparison_measures_nothing_again(made_up, noisy, path):
    made_up(by_cell)
    whole = compare(*noisy, **OPTIONS, journal=path)
    jobs = made_up(by_cell)
    assert timeless(compare(*noisy, **OPTIONS, journal=path)) == timeless(whole)
    assert jobs == []


def test_a_failure_is_kept_too(made_up, noisy, path):
    made_up(lambda *_: {"status": "failed", "reason": "it crashed"})
    compare(*noisy, **OPTIONS, journal=path)
    jobs = made_up()
    found = compare(*noisy, **OPTIONS, journal=path)
    assert {row.status for row in found.rows} == {"failed"}
    assert jobs == []


def test_more_can_be_measured_later(made_up, noisy, path):
    made_up(by_cell)
    compare(*noisy, **OPTIONS | {"vary": ()}, journal=path)
    jobs = made_up(by_cell)
    compare(*noisy, **OPTIONS, journal=path)
    assert len(jobs) == PROCESSES - 4


@pytest.mark.parametrize("form", ["values", "labels", "type", "sparse"])
def test_other_data_are_refused_by_name(made_up, noisy, path, form):
    jobs = made_up(by_cell)
    compare(*noisy, **OPTIONS | {"vary": ()}, journal=path)
    jobs.clear()
    X, y = noisy
    other = {
        "values": (X + 1e-9, y),
        "labels": (X, np.roll(y, 1)),
        "type": (X.astype(np.float32), y),
        "sparse": (sparse.csr_array(X), y),
    }[form]
    with pytest.raises(ValueError, match="belongs to another comparison: data differs"):
        compare(*other, **OPTIONS, journal=path)
    assert jobs == []


def test_the_file_is_one_json_object_a_line(made_up, noisy, path):
    made_up(by_cell)
    compare(*noisy, **OPTIONS, journal=str(path))
    head, *entries = map(json.loads, path.read_text().splitlines())
    assert head["versions"]["numpy"] == np.__version__
    assert len(entries) == PROCESSES
    assert {entry["answer"]["status"] for entry in entries} == {"completed"}
