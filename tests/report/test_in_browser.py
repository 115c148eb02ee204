"""Pages in a browser: sound, and the checks that say so reject what is not."""

import dataclasses
import math
import re

import pytest

from lrbackends.equivalence import EquivalenceReport, Evidence
from lrbackends.report.benchmark_changes import compare_runs
from lrbackends.report.benchmarks import read_benchmarks

from . import browser as checks
from .stored_benchmarks import file, stored, times

FACTS = {
    "arithmetic": "fast",
    "steps": 100,
    "checks": ["gradient", "trajectory"],
    "backends": ["numpy", "jax"],
    "skipped": {"torch": "torch is not installed"},
    "reference": "long double, 11 bits more than float64",
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "environments": {},
    "seconds": 2.0,
}
ROWS = [
    Evidence("gradient", "numpy", "w = 0", "loss", 0.3, 8.0, "error in units of eps"),
    Evidence("gradient", "jax", "w = 0", "loss", math.nan, 8.0, "error in units of eps"),
    Evidence("trajectory", "numpy-jax", "gd", "median ULP", 12.0, 4.0),
    Evidence("trajectory", "numpy-jax", "gd, 10 steps", "labels that differ", 0.0, 0.0),
]


def run(folder, scale: float, name: str):
    """Return a run of two groups, with a flagged time and one without intervals."""
    benchmarks = [
        stored(b, times(s * scale), group=g, passes=3, over_fast=[1.1, 1.2, 1.3])
        for g in ("gradient 10x3", "a <b>long</b> & odd group")
        for b, s in (("numpy", 2e-3), ("numba", 1e-3), ("jax", 1.01e-3))
    ]
    benchmarks.append(stored("wrong", times(1e-4), loss=0.7))
    benchmarks.append(stored("short", times(5e-3, n=2)))
    return read_benchmarks(file(folder, *benchmarks, name=name))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each kind of page, written to a file."""
    folder = tmp_path_factory.mktemp("pages")
    new, old = run(folder, 1.2, "new.json"), run(folder, 1.0, "old.json")
    old = dataclasses.replace(old, facts=old.facts | {"processor": "Another"})
    made = {
        "report": new,
        "changes": compare_runs(new, old),
        "verification": EquivalenceReport(tuple(ROWS), FACTS),
    }
    for name, page in made.items():
        page.to_html(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("page", ["changes", "verification"])
def test_page_is_sound(browser, pages, page, check):
    check(browser, pages[page])


@pytest.mark.parametrize("check", checks.CHECKS[:3], ids=lambda check: check.__name__)
def test_the_page_of_one_run_is_a_part_of_that_of_two(browser, pages, check):
    check(browser, pages["report"])


def test_sorting_by_time_sorts_by_seconds_and_not_by_text(browser, pages):
    with checks.opened(browser, pages["report"]) as (page, _):
        table = page.locator("#g-gradient-10x3")
        names = table.locator("tbody th")
        assert names.all_text_contents() == ["wrong", "numba", "jax", "numpy", "short"]
        table.locator("thead button", has_text="median").click()
        assert names.all_text_contents() == ["short", "numpy", "jax", "numba", "wrong"]
        # Gaps stay last, whichever the direction.
        for _ in range(2):
            table.locator("thead button", has_text="95 % interval").click()
            assert names.all_text_contents()[-1] == "short"


def test_the_first_stop_leads_past_the_head(browser, pages):
    with checks.opened(browser, pages["report"]) as (page, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_figures_follow_the_theme(browser, pages):
    seen = {}
    for scheme in checks.SCHEMES:
        with checks.opened(browser, pages["report"], scheme=scheme) as (page, _):
            seen[scheme] = page.evaluate(
                "[...document.querySelectorAll('svg text')].map((t) => getComputedStyle(t).fill)"
            )
    assert len(seen["light"]) > 10
    assert set(seen["light"]).isdisjoint(seen["dark"])


# -- the checks reject

BREAKS = {
    "loads: an error": (
        checks.assert_loads_alone,
        "</body>",
        "<script>throw new Error('no')</script></body>",
    ),
    "loads: a request": (
        checks.assert_loads_alone,
        "</body>",
        '<img alt="" src="other.png"></body>',
    ),
    "structure: ids": (checks.assert_structure, "</main>", '<p id="main"></p></main>'),
    "structure: headings": (checks.assert_structure, "</main>", "<h5>Deep</h5></main>"),
    "structure: caption": (checks.assert_structure, "<caption[^>]*>.*?</caption>", ""),
    "structure: row": (checks.assert_structure, ' scope="row"', ""),
    "structure: drawing": (checks.assert_structure, ' role="img"', ""),
    "structure: link": (checks.assert_structure, 'href="#groups"', 'href="#nowhere"'),
    "fits: a wide part": (
        checks.assert_fits,
        "</main>",
        '<div style="width: 400px">wide</div></main>',
    ),
    "fits: keyboard": (checks.assert_fits, "target.tabIndex = 0", "void 0; target.tabIndex = -1"),
    "contrast: faint": (
        checks.assert_contrast,
        "</main>",
        '<p style="color: #999; background: #fff">faint</p></main>',
    ),
    "contrast: dark": (checks.assert_contrast, "color-scheme: light dark;", "color-scheme: light;"),
    "theme": (checks.assert_theme_toggles, "root.dataset.theme = dark", "root.dataset.x = dark"),
    "sorts: order": (checks.assert_sorts, "body.append\\(", "void ("),
    "sorts: gaps": (checks.assert_sorts, "\\(a === null\\) - \\(b === null\\)", "0"),
    "sorts: said": (checks.assert_sorts, "said.textContent = ", "void "),
    "prints: dark": (
        checks.assert_prints,
        ":root, :root\\[data-theme\\] { color-scheme: light; }",
        "",
    ),
    "prints: cut": (checks.assert_prints, ".scroll { overflow: visible;", ".scroll {"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_checks_reject(browser, pages, tmp_path, name):
    check, pattern, put = BREAKS[name]
    text, n = re.subn(pattern, put, pages["report"].read_text(encoding="utf-8"), flags=re.DOTALL)
    assert n > 0, "the page has nothing to break there"
    broken = tmp_path / "broken.html"
    broken.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError):
        check(browser, broken)


def test_a_page_that_is_too_large_is_rejected(browser, pages, tmp_path):
    large = tmp_path / "large.html"
    large.write_text(pages["report"].read_text(encoding="utf-8") + " " * checks.MAX_BYTES)
    with pytest.raises(AssertionError):
        checks.assert_loads_alone(browser, large)
