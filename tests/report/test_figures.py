"""Figures of comparisons: they show the numbers that were measured, legibly, or say why not."""

import dataclasses
import io
import itertools
import re

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lrbackends._units import seconds
from lrbackends.benchmarking.crossover import Crossing
from lrbackends.report import figure_data as data
from lrbackends.report import palette
from lrbackends.report.figures import figure

from .stored_comparisons import COMPARISONS, KINDS, alone, apart, base, broken, nothing, whole

DRAWN = {  # what each comparison has something to show for
    "whole": KINDS,
    "base": ("cost", "loss", "agreement", "passes"),
    "alone": ("cost", "loss", "agreement", "passes"),
    "broken": KINDS,
    "nothing": (),
}


def texts(drawn):
    return [text.get_text() for text in drawn.findobj(mpl.text.Text) if text.get_text().strip()]


def overlaps(drawn):
    """Return texts that overlap one another, or stick out of the figure."""
    renderer = FigureCanvasAgg(drawn).get_renderer()
    drawn.draw_without_rendering()
    shown = [t for t in drawn.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]
    for axes in drawn.axes:  # ticks beyond the limits are not drawn
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            for tick in ticks:
                if not low <= tick.get_loc() <= high:
                    shown = [t for t in shown if t not in (tick.label1, tick.label2)]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown]
    outer = drawn.bbox.padded(1)
    found = [text for text, box in boxes if not outer.contains(box.x0, box.y0)]
    found += [text for text, box in boxes if not outer.contains(box.x1, box.y1)]
    for (a, box), (b, other) in itertools.combinations(boxes, 2):
        if box.padded(-1).overlaps(other.padded(-1)):
            found.append(f"{a} | {b}")
    return found


CASES = [(name, kind) for name, kinds in DRAWN.items() for kind in kinds if name != "base"]
CASES += [("base", "loss"), ("apart", "agreement")]
NOT_DRAWN = [(name, kind) for name, kinds in DRAWN.items() for kind in KINDS if kind not in kinds]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_text_is_legible(name, kind):
    drawn = figure(COMPARISONS[name](), kind)
    assert isinstance(drawn, Figure)
    assert overlaps(drawn) == []


def test_texts_that_overlap_are_found():
    drawn = figure(whole(), "cost")
    drawn.set_size_inches(3, 1)
    with pytest.warns(UserWarning, match="constrained_layout not applied"):
        assert overlaps(drawn)


@pytest.mark.parametrize(("name", "kind"), NOT_DRAWN)
def test_a_figure_that_has_nothing_to_show_says_why(name, kind):
    with pytest.raises(ValueError, match=r"measure|trained|step by step"):
        figure(COMPARISONS[name](), kind)


@pytest.mark.parametrize(("kind", "variation"), [("sizes", "size"), ("reproducible", "arithmetic")])
def test_the_reason_names_the_variation(kind, variation):
    with pytest.raises(ValueError, match=rf"vary=\['{variation}'\] measures it"):
        figure(base(), kind)


def test_an_unknown_figure_is_refused():
    with pytest.raises(ValueError, match="no figure 'pie'; choose from cost, sizes"):
        figure(whole(), "pie")


def test_comparisons_plot_themselves():
    assert "One fit in a fresh process" in texts(whole().plot())
    assert "The same fit again" in texts(whole().plot("cost"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_says_what_was_compared_unless_a_page_does(kind):
    heading = "digits01, 270 × 64: gd, 1,000 epochs, full batch, step 1/L, l2 0.001, float64"
    assert heading in texts(figure(whole(), kind))
    assert heading not in texts(figure(whole(), kind, headed=False))


# -- what they show


def test_cold_bars_are_import_compile_and_the_rest():
    cold, warm = figure(base(), "cost").axes
    rows = base().measured
    stacks = [[bar.get_width() for bar in bars] for bars in cold.containers]
    in_ms = [
        [1e3 * row.import_time.median for row in rows],
        [1e3 * row.compile_time.median for row in rows],
        [1e3 * (row.first_fit.median - row.compile_time.median) for row in rows],
    ]
    assert stacks == [pytest.approx(values) for values in in_ms]
    hatched = {bar.get_hatch() for bar in cold.containers[1]}
    assert hatched == {"////"}, "compiling is told apart by its colour alone"
    assert [t.get_text() for t in cold.get_yticklabels()] == ["numpy", "numba", "jax"]
    assert all(t.xyann[0] > 0 for t in cold.texts), "a number stands on its bar"
    assert [t.get_text() for t in cold.texts] == [seconds(row.cold_fit.median) for row in rows]
    bars = [bar.get_width() for bar in warm.patches]
    assert bars == pytest.approx([1e3 * row.warm_fit.median for row in rows])


def test_warm_bars_have_the_interval_of_their_median():
    _, warm = figure(base(), "cost").axes
    (lines,) = (c for c in warm.collections if len(c.get_segments()) == 3)
    ends = [(segment[0][0], segment[1][0]) for segment in lines.get_segments()]
    expected = [tuple(1e3 * v for v in row.warm_fit.interval) for row in base().measured]
    assert ends == [pytest.approx(interval) for interval in expected]


def test_a_backend_that_diverged_is_marked():
    cold, _ = figure(broken(), "cost").axes
    assert [t.get_text() for t in cold.get_yticklabels()] == ["numpy", "numba\n(diverged)"]


def test_sizes_are_those_that_were_measured():
    warm, cold = figure(whole(), "sizes").axes
    for axes in (warm, cold):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = {line.get_label(): line for line in axes.get_lines() if len(line.get_xdata()) > 2}
        assert list(lines) == ["numpy", "numba", "jax"]
        assert list(lines["jax"].get_xdata()) == [100, 270, 1000, 10_000, 100_000]
        assert len({line.get_marker() for line in lines.values()}) == 3
        assert len({line.get_linestyle() for line in lines.values()}) == 3
    labels = [t.get_text() for t in cold.get_xticklabels()]
    assert labels == ["100", "270\n(yours)", "1,000", "10,000", "100,000"]


def test_a_fit_of_few_epochs_stands_for_one_of_all():
    curves = {c.backend: c for c in data.sizes(whole(), cold=False).curves}
    largest = next(
        row for row in whole().rows if row.backend == "numpy" and row.cell.n_samples == 100_000
    )
    assert largest.n_epochs == 15
    all_epochs = whole().settings.epochs * largest.epoch_time.median
    assert curves["numpy"].values[-1].median == pytest.approx(all_epochs, rel=0.2)


def test_a_crossover_is_a_line_within_its_interval(monkeypatch):
    crossing = Crossing("numpy", "numba", 3000.0, 500.0, 20_000.0)
    monkeypatch.setattr(data, "crossings", lambda *_, cold: (crossing,) if cold else ())
    warm, cold = figure(whole(), "sizes").axes
    straight = [line for line in cold.get_lines() if len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in straight] == [3000.0]
    (span,) = cold.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == (500.0, 20_000.0)
    assert "Fastest: numpy, numba from 3,000 rows (500–20,000)" in [
        t.get_text() for t in cold.texts
    ]
    assert [t.get_text() for t in warm.texts] == ["No crossover between these sizes."]


def test_losses_fall_to_what_was_left_at_the_end():
    found = data.loss(whole())
    rows = {row.backend: row for row in whole().measured}
    least = min(row.loss for row in whole().rows if row.cell.settings.solver == "auto")
    assert (found.best, found.optimal) == (least, True)
    for course in found.courses:
        row = rows[course.backend]
        assert list(course.above) == sorted(course.above, reverse=True)
        assert course.above[-1] == pytest.approx((row.loss - least) / least)
        assert course.seconds[-1] == pytest.approx(row.warm_fit.median, rel=0.05)
        assert course.end == row.warm_fit.estimate
    top, bottom = figure(whole(), "loss").axes
    assert top.get_yscale() == top.get_xscale() == "log"
    labels = [t.get_text() for t in bottom.get_yticklabels()]
    assert [label.partition(",")[0] for label in labels] == [f.name for f in found.finishes]
    assert {"scikit-learn lbfgs", "scikit-learn newton", "numpy"} <= {
        f.name for f in found.finishes
    }


def test_who_did_not_reach_the_optimum_is_said_not_to_have():
    rows = tuple(
        dataclasses.replace(row, status="stalled") if row.backend == "scikit-learn lbfgs" else row
        for row in whole().rows
    )
    _, bottom = figure(dataclasses.replace(whole(), rows=rows), "loss").axes
    labels = [t.get_text() for t in bottom.get_yticklabels()]
    assert "scikit-learn lbfgs, not reached" in labels


def test_without_an_optimum_losses_are_above_the_best_of_them():
    (axes,) = figure(base(), "loss").axes
    assert "gd: objective above the best of them" in texts(axes.figure)


def test_every_distance_stands_in_its_cell():
    heat = data.agreement(whole())
    assert heat.tasks[0] == "as asked, 270 rows"
    assert heat.columns[:2] == (("numpy", "numba"), ("numpy", "jax"))
    assert heat.columns[-1] == ("jax", "reference")
    assert len(heat.cells) == len(heat.tasks) * len(heat.columns)
    (axes,) = figure(whole(), "agreement").axes
    written = [t.get_text() for t in axes.texts]
    for (task, column), d in heat.cells.items():
        agreement = heat.agreements[heat.tasks.index(task)]
        at = heat.columns.index(column), heat.tasks.index(task)
        middle, further = data.apart(agreement, d)
        assert {middle, further} <= {
            t.get_text()
            for t in axes.texts
            if (int(t.get_position()[0]), int(t.get_position()[1])) == at
        }
    assert not any("✗" in text for text in written)


def test_what_is_beyond_the_contract_has_a_cross_and_a_frame():
    (axes,) = figure(apart(), "agreement").axes
    crossed = [t.get_text() for t in axes.texts if "✗" in t.get_text()]
    framed = [p for p in axes.patches if p.get_linewidth() > 0]
    assert crossed[0] == "✗ 12"
    assert len(crossed) == len(framed) == 2
    assert {"rel. 3e-14", "2 labels"} <= {t.get_text() for t in axes.texts}


@pytest.mark.parametrize(
    ("median", "shade"), [(0.0, 0), (0.5, 1), (1.5, 2), (3.0, 3), (4.0, 3), (4.5, 4)]
)
def test_shades_tell_how_near_the_limit_is(median, shade):
    agreement = whole().agreements[0]
    d = dataclasses.replace(agreement.distances[0], median_ulp=median, relative=1e-16)
    assert data.heat(agreement, d) == shade


def test_a_single_bit_is_beyond_the_reproducible_contract():
    (exact,) = (a for a in whole().agreements if a.settings.arithmetic == "reproducible")
    pair = next(d for d in exact.distances if d.b != "reference")
    assert data.heat(exact, pair) == 0
    assert data.heat(exact, dataclasses.replace(pair, max_ulp=1.0)) == 4


def test_the_reproducible_arithmetic_is_compared_within_rounds():
    found = data.reproducible(whole())
    rows = {(r.backend, r.cell.settings.arithmetic): r for r in whole().rows if not r.cell.threads}
    assert set(found) == {"numpy", "numba", "jax"}
    for name, over in found.items():
        slow = rows[name, "reproducible"]
        fast = next(r for r in whole().measured if r.backend == name)
        assert over == slow.over(fast, "epoch_time")
    (axes,) = figure(whole(), "reproducible").axes
    shown = [t.get_text() for t in axes.texts]
    assert any(text.startswith(f"{found['numpy'].median:.3g} (") for text in shown)


def test_passes_are_epochs_over_reading_x_at_best():
    numpy, *others = base().measured
    best = dataclasses.replace(numpy, read_once=1e-7)
    curves = data.passes(dataclasses.replace(base(), rows=(best, *others)))
    for row, curve in zip(base().measured, curves, strict=True):
        assert curve.values[0].median == pytest.approx(row.epoch_time.median / 1e-7)
    (axes,) = figure(whole(), "passes").axes
    assert [1, 1] in [list(line.get_ydata()) for line in axes.get_lines()]
    assert "the limit: X read once" in [t.get_text() for t in axes.texts]


# -- wherever they are shown


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_those_of_the_palette(kind):
    file = io.StringIO()
    drawn = figure(apart(), kind)
    drawn.savefig(file, format="svg")  # as users do: the style has ended
    known = {light for light, _ in palette.THEME.values()} | {palette.PAPER}
    assert {to_hex(t.get_color()) for t in drawn.findobj(mpl.text.Text) if t.get_text()} <= known
    assert set(re.findall("#[0-9a-f]{6}", file.getvalue())) <= known


def test_figures_leave_the_settings_of_matplotlib_alone():
    before = dict(mpl.rcParams)
    figure(whole(), "sizes")
    assert dict(mpl.rcParams) == before


def test_notebooks_show_a_figure_as_it_is():
    png, size = figure(alone(), "cost")._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size["width"] == 1000


def test_figures_are_saved_in_every_form(tmp_path):
    drawn = figure(alone(), "cost")
    for form in ("png", "svg", "pdf"):
        drawn.savefig(tmp_path / f"cost.{form}")
        assert (tmp_path / f"cost.{form}").stat().st_size > 2000


def test_nothing_is_drawn_of_nobody():
    with pytest.raises(ValueError, match="no backend was measured"):
        figure(nothing(), "cost")
