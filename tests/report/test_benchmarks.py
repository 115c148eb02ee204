"""Reports of what pytest-benchmark stored, and of what changed between two runs."""

import json
import math
import os
import subprocess
import sys

import pytest

from lrbackends.report.benchmark_changes import compare_runs
from lrbackends.report.benchmarks import BATCHES, read_benchmarks

from .stored_benchmarks import file, stored, times


def read(folder, *benchmarks, **more):
    return read_benchmarks(file(folder, *benchmarks, **more))


def group_of(folder, *benchmarks):
    (group,) = read(folder, *benchmarks).groups
    return group


def verdicts(group) -> dict[str, str]:
    return {entry.label: group.verdict(entry) for entry in group.entries}


def compared(folder, new, old):
    return compare_runs(read(folder, *new), read(folder, *old, name="old.json"))


# -- reading what pytest-benchmark writes

SUITE = """
import pytest

@pytest.mark.benchmark(group="sums")
@pytest.mark.parametrize("n", [10, 5000])
def test_sum(benchmark, n):
    benchmark.extra_info["loss"] = 1.5
    benchmark(sum, range(n))

def test_alone(benchmark):
    benchmark.pedantic(sorted, args=([3, 1, 2],), rounds=3, iterations=7)
"""


def test_reads_the_file_of_any_suite(tmp_path):
    (tmp_path / "test_any.py").write_text(SUITE)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_any.py"),
            *("--benchmark-json=b.json", "--benchmark-max-time=0.02"),
        ],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        timeout=60,
    )
    report = read_benchmarks(tmp_path / "b.json")
    sums, alone = report.groups
    assert verdicts(sums) == {"n 10": "fastest", "n 5000": "slower"}
    assert [e.label for e in alone.entries] == ["alone"]
    assert alone.entries[0].rounds == 3
    assert alone.entries[0].interval is None
    stats = json.loads((tmp_path / "b.json").read_text())["benchmarks"][0]["stats"]
    assert sums.entries[0].median == pytest.approx(stats["median"], rel=0.2)
    assert report.facts["tool"].startswith("pytest-benchmark ")
    assert report.facts["python"].startswith(sys.implementation.name.replace("cp", "CP"))


def test_a_group_is_a_table_fastest_first(tmp_path):
    group = group_of(
        tmp_path,
        stored("numpy", times(3e-3)),
        stored("jax", times(1e-3)),
        stored("numba", times(2e-3)),
    )
    assert verdicts(group) == {"jax": "fastest", "numba": "slower", "numpy": "slower"}
    numpy = group.ratios[group.entries[2].fullname]
    assert numpy.low < 3 < numpy.high
    assert numpy.high - numpy.low < 0.2


def test_equal_times_are_a_tie(tmp_path):
    group = group_of(
        tmp_path, stored("numpy", times(1e-3, seed=1)), stored("jax", times(1e-3, seed=2))
    )
    assert sorted(verdicts(group).values()) == ["fastest", "tie"]
    assert len(group.level) == 2


def test_rounds_are_taken_in_batches_of_consecutive_ones(tmp_path):
    """Slow and fast halves: a bootstrap of single rounds would be sure, one of batches is not."""
    drifting = [1e-3] * 500 + [2e-3] * 510
    (entry,) = group_of(tmp_path, stored("numpy", drifting)).entries
    assert len(entry.batches) == BATCHES
    assert entry.interval.low == 1e-3
    assert entry.interval.high == 2e-3


@pytest.mark.parametrize(("n", "judged"), [(3, False), (4, True)])
def test_too_few_rounds_are_not_judged(tmp_path, n, judged):
    group = group_of(tmp_path, stored("numpy", [2.0] * n), stored("jax", [1.0] * n))
    assert verdicts(group) == (
        {"jax": "fastest", "numpy": "slower"} if judged else {"jax": "", "numpy": ""}
    )
    assert group.times(group.entries[1]) == 2.0
    text = read(tmp_path, stored("numpy", [2.0] * n)).to_text()
    assert ("No interval" in text) is not judged


def test_without_rounds_there_is_a_median_but_no_interval(tmp_path):
    report = read(tmp_path, *(stored(b, times(1.0), keep=False) for b in ("numpy", "jax")))
    assert [e.interval for e in report.entries] == [None, None]
    assert report.entries[0].median == pytest.approx(1.0, rel=0.05)
    assert "the file has no time of each round" in " ".join(report.to_text().split())


def test_a_clock_that_stands_still_is_no_time(tmp_path):
    report = read(tmp_path, stored("numpy", [0.0] * 9), stored("jax", times(1.0)))
    assert report.entries[0].interval is None
    for view in (report.to_text(), report.to_markdown(), report.to_html(), report.to_json()):
        assert "numpy" in view


def test_benchmarks_without_a_group_are_grouped_by_function(tmp_path):
    report = read(tmp_path, *(stored(b, times(1.0), group=None) for b in ("numpy", "jax")))
    assert [group.name for group in report.groups] == ["test_gradient"]


def test_labels_are_what_differs(tmp_path):
    odd = [stored(b, times(1.0)) for b in ("numpy", "numba")]
    for benchmark in odd:
        benchmark["params"] = {"case": "UNSERIALIZABLE[Case()]" + benchmark["name"]}
    assert {e.label for e in group_of(tmp_path, *odd).entries} == {"numpy", "numba"}
    for benchmark in odd:
        benchmark["name"] = "test_same"
    assert {e.label for e in group_of(tmp_path, *odd).entries} == {b["fullname"] for b in odd}


# -- a faster wrong answer is never a winner

WRONG = {
    "lower objective": {"loss": 0.4},
    "higher objective": {"loss": 0.5 * (1 + 1e-12)},
    "not a number": {"loss": math.nan},
    "no objective": {"loss": None},
    "status": {"status": "diverged"},
    "goal": {"reached": False, "status": "stopped"},
    "target": {"target": 1e-6, "suboptimality": 1e-5},
}
RIGHT = {
    "rounding": {"loss": 0.5 * (1 + 1e-14)},
    "single precision": {"loss": 0.5 * (1 + 1e-6), "dtype": "float32"},
    "returned": {"status": "returned"},
    "reached": {"status": "max_iter", "reached": True},
}


@pytest.mark.parametrize("info", WRONG.values(), ids=WRONG)
def test_a_fast_wrong_answer_is_flagged(tmp_path, info):
    right = [stored(b, times(1e-3)) for b in ("numpy", "jax")]
    report = read(tmp_path, *right, stored("wrong", times(1e-6), **info))
    (group,) = report.groups
    assert verdicts(group)["wrong"] == "flagged"
    assert group.fastest.label != "wrong"
    assert group.entries[0].label == "wrong", "it is shown all the same"
    assert "wrong: " in report.to_text()
    assert "wrong" not in {entry.label for entry in group.level}


@pytest.mark.parametrize("info", RIGHT.values(), ids=RIGHT)
def test_a_right_answer_is_not_flagged(tmp_path, info):
    right = [stored(b, times(1e-3)) for b in ("numpy", "jax")]
    group = group_of(tmp_path, *right, stored("mine", times(1e-6), **info))
    assert verdicts(group)["mine"] == "fastest"


def test_where_two_disagree_neither_wins(tmp_path):
    group = group_of(tmp_path, stored("numpy", times(1.0)), stored("jax", times(2.0), loss=0.50001))
    assert set(verdicts(group).values()) == {"flagged"}
    assert group.fastest is None


@pytest.mark.parametrize(("loss", "flagged"), [(0.50002, False), (0.4999, True)])
def test_fits_to_a_tolerance_may_end_apart_within_their_target(tmp_path, loss, flagged):
    """The one that ends lower is never flagged; the others are, if they end above the target."""
    info = {"suboptimality": 1e-6, "target": 1e-4}
    group = group_of(
        tmp_path,
        stored("numpy", times(1.0), **info),
        stored("jax", times(2.0), loss=loss, **info),
    )
    assert ("numpy" in str(group.flags)) is flagged
    assert "jax" not in str(group.flags)


# -- views


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return read(
        folder,
        *(stored(b, times(s), passes=k) for k, (b, s) in enumerate((("numpy", 2.0), ("jax", 1.0)))),
        *(stored(b, times(3.0), group="a | b *", over_fast=[1, 1.5, 2]) for b in ("x" * 60, "y")),
    )


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_of_text_is_wider_than_asked_for(run, tmp_path, width):
    long = stored("numpy" * 9, times(1.0), group="long " * 9)
    changes = compared(tmp_path, [long], [stored("jax", times(1.0))])
    for view in (run, changes, compare_runs(run, run)):
        assert max(map(len, view.to_text(width).splitlines())) <= width


def test_the_verdict_comes_first(run):
    lines = run.to_text().splitlines()
    assert lines[0].startswith("4 benchmarks in 2 groups, from")
    assert "fastest" in " ".join(lines[1:5])


def test_markdown_tables_have_equal_rows_and_escaped_cells(run):
    text = run.to_markdown()
    assert "a \\| b \\*" in text
    for block in text.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_frame_and_json_hold_what_was_found(run, tmp_path):
    frame = run.to_frame()
    assert len(frame) == 4
    assert frame.set_index("name").loc["jax", "verdict"] == "fastest"
    document = json.loads(run.to_json(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text()) == document
    assert document["schema"] == 1
    assert set(frame.columns) == set(document["benchmarks"][0])
    row = document["benchmarks"][0]
    assert row["low"] <= row["median"] <= row["high"]


def test_inputs_are_not_written_to(tmp_path):
    path = file(tmp_path, stored("numpy", times(1.0)))
    before = path.read_bytes()
    read_benchmarks(path).to_html(tmp_path / "page.html")
    assert path.read_bytes() == before


def test_a_page_of_many_benchmarks_stays_small(tmp_path):
    benchmarks = [
        stored(f"backend {k}", times(k + 1.0, n=8), group=f"group {g}")
        for g in range(75)
        for k in range(4)
    ]
    assert len(read(tmp_path, *benchmarks).to_html()) < 2_000_000


# -- two runs


def test_regressions_come_first(tmp_path):
    old = [stored(b, times(1.0, seed=k)) for k, b in enumerate(("same", "up", "down", "worse"))]
    new = [
        stored("same", times(1.0, seed=9)),
        stored("down", times(0.8, seed=8)),
        stored("up", times(1.2, seed=7)),
        stored("worse", times(1.4, seed=6)),
    ]
    changes = compared(tmp_path, [*new, stored("fresh", [1.0])], [*old, stored("gone", [1.0])])
    assert [(c.new.label, c.kind) for c in changes.changes] == [
        ("worse", "slower"),
        ("up", "slower"),
        ("down", "faster"),
        ("same", "tie"),
    ]
    assert ["fresh" in name for name in changes.only_new] == [True]
    assert ["gone" in name for name in changes.only_old] == [True]
    text = changes.to_text()
    assert text.index("Slower (2)") < text.index("Faster (1)") < text.index("Tie (1)")
    assert text.index("Tie (1)") < text.index("Only in")


def test_a_change_has_an_interval(tmp_path):
    changes = compared(
        tmp_path, [stored("numpy", times(1.2, seed=1))], [stored("numpy", times(1.0, seed=2))]
    )
    ratio = changes.changes[0].ratio
    assert 1.15 < ratio.low < 1.2 < ratio.high < 1.25


def test_the_same_run_twice_changed_nothing(run):
    changes = compare_runs(run, run)
    assert {change.kind for change in changes.changes} == {"tie"}
    assert changes.differences == ()
    assert changes.beyond(0.0) == ()
    assert changes.whole.median == 1.0


@pytest.mark.parametrize("info", [{"loss": 0.6}, {"status": "diverged"}])
def test_a_faster_wrong_answer_is_no_improvement(tmp_path, info):
    changes = compared(
        tmp_path, [stored("numpy", times(0.5), **info)], [stored("numpy", times(1.0))]
    )
    assert [change.kind for change in changes.changes] == ["other answer"]
    assert len(changes.beyond(0.1)) == 1
    assert "Other answer (1)" in changes.to_text()


@pytest.mark.parametrize(("slowdown", "n"), [(0.1, 1), (0.3, 0)])
def test_only_what_is_surely_slower_is_beyond(tmp_path, slowdown, n):
    changes = compared(
        tmp_path, [stored("numpy", times(1.2, seed=1))], [stored("numpy", times(1.0, seed=2))]
    )
    assert len(changes.beyond(slowdown)) == n


def test_a_median_beyond_whose_interval_is_not_passes(tmp_path):
    changes = compared(
        tmp_path,
        [stored("numpy", times(1.12, n=8, spread=0.2, seed=1))],
        [stored("numpy", times(1.0, n=8, spread=0.2, seed=2))],
    )
    (change,) = changes.changes
    assert change.times > 1.05
    assert change.ratio.low < 1.05
    assert changes.beyond(0.05) == ()


@pytest.mark.parametrize("old", [[], [("numpy", 3)]], ids=["nothing shared", "few rounds"])
def test_a_slowdown_that_cannot_be_told_is_an_error(tmp_path, old):
    changes = compared(
        tmp_path,
        [stored("numpy", times(1.0))],
        [stored(b, [1.0] * n) for b, n in old] or [stored("other", [1.0])],
    )
    with pytest.raises(ValueError, match="a slowdown cannot be told"):
        changes.beyond(0.1)


def test_what_else_differs_is_named_on_top(tmp_path):
    new = read(tmp_path, stored("numpy", times(1.0)))
    elsewhere = {"system": "Linux", "release": "5.0", "cpu": {"brand_raw": "Another", "count": 2}}
    old = read(
        tmp_path,
        stored("numpy", times(1.0), versions={"numpy": "1.0"}),
        machine_info=elsewhere,
        commit_info={"id": "f" * 40, "dirty": True},
        name="old.json",
    )
    changes = compare_runs(new, old)
    head = " ".join(changes.to_text().split("\n\n", 2)[1].split())
    assert "processor: A Processor, was Another" in head
    assert "numpy: 2.4.6, was 1.0" in head
    assert "numba: 0.68.1, was not noted" in head
    assert "cores" not in head
    assert "0123456789ab against ffffffffffff, with changes" in changes.to_text()


def test_groups_are_seen_as_a_whole(tmp_path):
    def suite(scale):
        names = [f"b{k}" for k in range(6)]
        return [
            stored(b, times(s, seed=k), group=g)
            for g, s in (("calm", 1.0), ("slowed", scale))
            for k, b in enumerate(names)
        ]

    changes = compared(tmp_path, suite(1.5), suite(1.0))
    (first, (middle, interval, n)), (second, _) = changes.by_group.items()
    assert (first, second, n) == ("slowed", "calm", 6)
    assert middle == pytest.approx(1.5)
    assert interval.low > 1


def test_json_of_changes(tmp_path):
    changes = compared(
        tmp_path, [stored("numpy", times(1.2))], [stored("numpy", times(1.0), keep=False)]
    )
    document = json.loads(changes.to_json())
    (change,) = document["changes"]
    assert change["kind"] == "not judged"
    assert change["ratio_low"] is None
    assert change["ratio"] == pytest.approx(1.2, rel=0.05)
    assert set(changes.to_frame().columns) == set(change)


# -- bad files

BAD = {
    "not JSON": ("not json", "is not JSON: Expecting value in line 1, column 1"),
    "cut off": ('{"benchmarks": [', "is not JSON"),
    "a list": ("[1]", "is not a file that pytest --benchmark-json=FILE writes"),
    "another object": ('{"rows": []}', "is not a file that pytest"),
    "empty": ('{"benchmarks": []}', "holds no benchmarks"),
    "no name": ('{"benchmarks": [{"stats": {}}]}', "benchmark 1 has no fullname"),
    "no statistics": (
        '{"benchmarks": [{"fullname": "f"}]}',
        r"benchmark 1 \(f\) has no q1 in seconds",
    ),
    "a text for a time": (
        '{"benchmarks": [{"fullname": "f", "stats": {"q1": 1, "median": "1", "q3": 1}}]}',
        r"\(f\) has no median in seconds",
    ),
    "texts for rounds": (
        '{"benchmarks": [{"fullname": "f", "stats": '
        '{"q1": 1, "median": 1, "q3": 1, "data": ["a"]}}]}',
        "data are not the seconds of its rounds",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_benchmarks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON: it is not text"):
        read_benchmarks(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_benchmarks(tmp_path / "none.json")
