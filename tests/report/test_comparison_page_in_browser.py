"""The page of a comparison in a browser."""

import pytest

from . import browser as checks
from .stored_comparisons import broken, whole

MADE = {"whole": whole, "broken": broken}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages, written to files."""
    folder = tmp_path_factory.mktemp("comparisons")
    for name, made in MADE.items():
        made().to_html(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in MADE}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_page_is_sound(browser, pages, check):
    check(browser, pages["whole"])


@pytest.mark.parametrize(
    "check",
    [checks.assert_loads_alone, checks.assert_structure, checks.assert_fits],
    ids=lambda check: check.__name__,
)
def test_a_page_with_failures_is_sound(browser, pages, check):
    check(browser, pages["broken"])


def test_cells_are_sorted_by_seconds_and_not_by_text(browser, pages):
    with checks.opened(browser, pages["whole"]) as (page, problems):
        head = page.locator("#times thead th", has_text="warm fit")
        head.locator("button").click()
        shown = page.locator("#times tbody tr td:nth-child(6)")
        keys = [float(cell.get_attribute("data-key")) for cell in shown.all()]
        warm = sorted(row.warm_fit.median for row in whole().rows)
        assert keys == pytest.approx(warm)
        head.locator("button").press("Enter")
        assert shown.first.text_content() == "232 ms"
        assert problems == []


def test_an_answer_leads_to_its_drawing(browser, pages):
    with checks.opened(browser, pages["whole"]) as (page, _):
        page.locator(".questions li", has_text="cross over").get_by_role("link").first.click()
        box = page.locator("#drawing-sizes").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < checks.HEIGHT / 2
