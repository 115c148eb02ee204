"""The page of a comparison says all that was found, whatever happened."""

import dataclasses
import html
import inspect
import re
import types
from functools import cache

import click
import pytest

import lrbackends as lrb
from lrbackends.benchmarking.compare import compare
from lrbackends.cli import main
from lrbackends.report import comparison_page, comparison_tables
from lrbackends.report.comparison_page import as_html

from .stored_comparisons import (
    COMPARISONS,
    KINDS,
    REASON,
    alone,
    apart,
    base,
    broken,
    whole,
    worse,
)


def undrawn(comparison, kind, *, headed):
    comparison_tables.BEHIND[kind](comparison)  # raises as the figure does


def page_of(comparison):
    """Return the page without its drawings, which take their time and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_page, "svg", lambda _, **said: said["title"])
        patch.setattr(comparison_page, "figure", undrawn)
        return as_html(comparison)


@cache
def page(name):
    return page_of(COMPARISONS[name]())


def words(text):
    """Return what a reader reads, without tags."""
    body = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def section(text, name):
    return text.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def verdict(text):
    return text.partition('<section aria-label="Verdict">')[2].partition("</section>")[0]


@pytest.mark.parametrize("name", ["whole", "alone", "broken", "nothing"])
def test_every_question_has_its_answer(name):
    comparison = COMPARISONS[name]()
    shown = words(section(page(name), "questions"))
    found = list(comparison.answers())
    assert len(found) == 15
    for answer in found:
        assert answer.question in shown
        for sentence in re.split(r"; |: |\. ", answer.text.rstrip(".")):
            assert sentence.rstrip(".") in shown


@pytest.mark.parametrize(
    ("name", "tone", "sentence"),
    [
        ("whole", "good", "numpy, numba and jax give the same answer."),
        ("alone", "good", "numpy gives the answer of exact arithmetic"),
        ("apart", "bad", "The backends do not give the same answer."),
        ("worse", "bad", "numba ended with a higher objective than the best."),
        ("nothing", "warn", "There was nothing to compare the answer with."),
    ],
)
def test_the_verdict_comes_first_and_its_tone_says_whether_they_agree(name, tone, sentence):
    comparison = COMPARISONS[name]()
    text = page(name)
    first = verdict(text).partition('<div class="verdict ')[2]
    assert first.startswith(f'{tone}">')
    assert text.index(sentence) < text.index('id="questions"')
    assert comparison.verdict() in words(verdict(text))


def test_different_bits_from_fit_to_fit_are_a_warning():
    first, *rest = whole().rows
    changed = dataclasses.replace(
        whole(), rows=(dataclasses.replace(first, repeatable=False), *rest)
    )
    text = page_of(changed)
    assert '<div class="verdict warn">' in verdict(text)
    assert "other bits from fit to fit" in section(text, "tables")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("whole", "numpy for one fit in a fresh process, numba for many fits in one."),
        ("alone", "numpy: no other was compared."),
        ("nothing", "No backend can be recommended."),
    ],
)
def test_a_backend_is_recommended(name, sentence):
    comparison = COMPARISONS[name]()
    shown = words(verdict(page(name)))
    assert sentence in shown
    assert comparison.recommend() in shown


def test_failures_have_their_reason():
    text = page("broken")
    assert html.escape(REASON) in verdict(text)
    assert REASON not in text, "a reason can put tags into the page"
    assert "numba (as asked, 270 rows) – diverged: the loss is infinite" in words(verdict(text))
    results = section(text, "tables")
    assert results.count(f"<small>{html.escape(REASON)}</small>") == sum(
        row.status == "failed" for row in broken().rows
    )


def test_a_name_is_text():
    named = dataclasses.replace(base(), name='<img src="x">')
    assert "<img" not in page_of(named)


# -- drawings and tables


def test_drawings_are_there_with_their_figures():
    text = as_html(whole())  # with all
    assert text.count("<svg") == len(KINDS)
    assert text.count("<summary>The figures of this drawing</summary>") == len(KINDS)
    assert len(text) < 600_000


@pytest.mark.parametrize("name", ["base", "nothing"])
def test_what_was_not_measured_is_not_drawn_and_it_is_said_why(name):
    text = page(name)
    shown = words(section(text, "drawings"))
    assert "Not drawn: fewer than two numbers of rows were measured; vary=['size']" in shown
    assert "Not drawn: the two arithmetics were not both measured; vary=['arithmetic']" in shown
    assert 'href="#drawing-sizes"' not in text
    assert 'href="#drawing-sizes"' in page("whole")


@pytest.mark.parametrize("name", COMPARISONS)
def test_links_lead_somewhere(name):
    text = page(name)
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= ids


def test_all_cells_are_in_the_tables():
    times, results = comparison_tables.times(broken()), comparison_tables.results(broken())
    failed = sum(row.status == "failed" for row in broken().rows)
    assert len(results.rows) == len(broken().rows)
    assert len(times.rows) == len(broken().rows) - failed


def test_tables_show_and_sort_by_what_was_measured():
    table = comparison_tables.times(whole())
    names = [column.name for column in table.columns]
    row = next(row for row in whole().measured if row.backend == "jax")
    cells = dict(zip(names, table.rows[2], strict=True))
    assert (cells["cell"].text, cells["cell"].note) == ("jax", "as asked, 270 rows")
    for name, of in (
        ("import", row.import_time),
        ("data", row.transfer_time),
        ("compile", row.compile_time),
        ("first fit", row.first_fit),
        ("warm fit", row.warm_fit),
        ("epoch", row.epoch_time),
        ("new shape", row.new_shape_fit),
    ):
        assert cells[name].key == of.median
    assert cells["interval"].key == row.warm_fit.interval[0]


def test_readers_find_the_base_first_then_sizes_then_the_rest():
    notes = [row[0].note for row in comparison_tables.results(whole()).rows]
    assert list(dict.fromkeys(notes)) == [
        "as asked, 270 rows",
        "100 rows",
        "1,000 rows",
        "10,000 rows, 156 epochs",
        "100,000 rows, 15 epochs",
        "float32",
        "reproducible",
        "1 thread",
        "empty cache",
        "filled cache",
        "to the optimum",
    ]


def test_results_are_those_of_the_row():
    table = comparison_tables.results(whole())
    cells = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    row, far = whole().measured[0], whole().to_reference("numpy")
    assert cells["loss"].key == row.loss
    assert cells["gradient"].key == row.gradient_norm
    assert cells["memory"].key == row.peak_memory
    assert cells["accuracy"].key == row.test_accuracy
    assert (cells["ULP"].key, cells["ULP"].note) == (far.median_ulp, f"max {far.max_ulp:.3g}")


def test_a_worse_loss_is_marked():
    cells = [cell for row in comparison_tables.results(worse()).rows for cell in row]
    assert [cell.note for cell in cells].count("worse than the best") >= 1
    assert not [
        cell for row in comparison_tables.results(whole()).rows for cell in row if cell.tone
    ]


def test_agreement_is_judged_task_by_task():
    def judged(comparison):
        return [row[1].text for row in comparison_tables.agreement(comparison).rows]

    assert judged(whole()) == ["within"] * 7 + ["same optimum"]
    assert judged(apart()).count("beyond") == 2


# -- how to run it again


@pytest.mark.parametrize("name", ["whole", "base", "alone"])
def test_the_call_measures_the_same_again(name):
    comparison = COMPARISONS[name]()
    made = {}
    fake = types.SimpleNamespace(
        compare=lambda *a, **k: made.update(args=a, **k), load_dataset=lrb.load_dataset
    )
    code = comparison_page._call(comparison).removeprefix("import lrbackends as lrb\n")
    exec(code, {"lrb": fake})
    assert len(made.pop("args")) == 2
    asked = inspect.signature(compare).bind(None, None, **made)
    asked.apply_defaults()
    settings = dataclasses.asdict(comparison.settings)
    for key in ("solver", "epochs", "l2", "batch_size", "learning_rate", "arithmetic"):
        assert asked.arguments[key] == settings[key], key
    assert asked.arguments["backends"] == [row.backend for row in comparison.base]
    assert asked.arguments["rounds"] == comparison.rounds
    assert asked.arguments["vary"] == {"whole": None}.get(name, [])
    assert asked.arguments["sizes"] == ([100, 1000, 10_000, 100_000] if name == "whole" else None)


@pytest.mark.parametrize("name", ["whole", "base", "alone"])
def test_the_command_is_one_that_the_command_line_takes(name):
    command = comparison_page._command(COMPARISONS[name]()).split()
    assert command[:3] == ["lrbackends", "compare", "digits01"]
    taken = click.Group.get_command(main, click.Context(main), "compare").make_context(
        "compare", command[2:-2]
    )
    assert taken.params["backends"] == [row.backend for row in COMPARISONS[name]().base]
    assert taken.params["vary"] == {"whole": None}.get(name, ["none"])


def test_the_command_of_other_settings_names_them():
    c = base()
    settings = dataclasses.replace(c.settings, solver="adam", random_state=3, batch_size=32)
    rows = tuple(
        dataclasses.replace(r, cell=dataclasses.replace(r.cell, settings=settings)) for r in c.rows
    )
    changed = dataclasses.replace(c, name="random data", settings=settings, rows=rows)
    command = comparison_page._command(changed)
    assert "--shape 270x64" in command
    assert "--solver adam --batch-size 32" in command
    assert "--seed 3" in command
    assert "shape=(270, 64)" in comparison_page._call(changed)


def test_the_machine_is_told():
    shown = words(section(page("whole"), "machine"))
    machine = whole().machine
    for fact in (machine.cpu, machine.system, machine.python, *machine.blas):
        assert fact in shown
    for name, version in machine.versions.items():
        assert f"{name} {version}" in shown


# -- answers that go through the backends


@pytest.mark.parametrize(
    ("text", "lead", "items", "tail"),
    [
        ("numpy 1 ms; jax 2 ms.", "", ("numpy 1 ms", "jax 2 ms"), ""),
        ("jax: a, b; numpy: c. The end.", "", ("jax: a, b", "numpy: c"), "The end."),
        (
            "An epoch: jax a tie; numpy 2.5 times.",
            "An epoch:",
            ("jax a tie", "numpy 2.5 times"),
            "",
        ),
        ("jax costs more: never; numpy too.", "", ("jax costs more: never", "numpy too"), ""),
        ("jax 1 ms; numpyish 2 ms.", "jax 1 ms; numpyish 2 ms.", (), ""),
        ("jax 1 ms; against numpy.", "jax 1 ms; against numpy.", (), ""),
        ("Linux; numpy 2.", "Linux; numpy 2.", (), ""),
        ("jax 1 ms.", "jax 1 ms.", (), ""),
    ],
)
def test_a_clause_for_each_backend_becomes_an_item(text, lead, items, tail):
    assert comparison_page._itemised(text, ["numpy", "jax"]) == (lead, items, tail)


def test_the_page_is_written_to_a_file(tmp_path):
    file = tmp_path / "page.html"
    text = alone().to_html(file)
    assert file.read_text(encoding="utf-8") == text
    assert text.lower().startswith("<!doctype html>")
