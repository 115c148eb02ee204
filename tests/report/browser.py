"""What every page has to do in a browser: `assert_page_is_sound(browser, path)`.

Each check opens the page anew, so that each can be used, and be shown to fail, by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTHS = (375, 1280)
SCHEMES = ("light", "dark")
HEIGHT = 800
MAX_BYTES = 2_000_000

# Luminance and contrast as WCAG 2.2 defines them.
_COLOURS = """
const parse = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
};
const luminance = (rgb) => rgb.slice(0, 3)
  .map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
const ratio = (a, b) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
"""
_FAINT = (
    "() => {"
    + _COLOURS
    + """
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, .unseen, .quiet, title, desc")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const found = ratio(ink, ground(element));
    const text = walker.currentNode.textContent.trim().slice(0, 40);
    if (found < least) faint.push(`${found.toFixed(2)}: ${text}`);
  }
  return faint;
}"""
)
_DARKNESS = "() => {" + _COLOURS + "return luminance(ground(document.body)); }"
_INK = "() => {" + _COLOURS + "return luminance(parse(getComputedStyle(document.body).color)); }"
_FLAWS = """() => {
  const flaws = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const expect = (holds, flaw) => { if (!holds) flaws.push(flaw); };
  expect(document.documentElement.lang, "the page has no language");
  expect(document.title, "the page has no title");
  for (const landmark of ["main", "h1", "header", "footer"])
    expect(all(landmark).length === 1, `not one ${landmark}`);
  const ids = all("[id]").map((e) => e.id);
  expect(new Set(ids).size === ids.length,
    `ids twice: ${ids.filter((id, k) => ids.indexOf(id) !== k).slice(0, 3)}`);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const own = Number(heading.tagName[1]);
    expect(own <= level + 1, `${heading.tagName} after h${level}: ${heading.textContent}`);
    level = own;
  }
  for (const link of all('a[href^="#"]'))
    expect(document.getElementById(link.hash.slice(1)), `no target: ${link.hash}`);
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const e of all(`[${name}]`))
      expect(document.getElementById(e.getAttribute(name)), `${name} leads nowhere`);
  for (const table of all("table")) {
    expect(table.caption?.textContent.trim(), "a table has no caption");
    for (const head of table.querySelectorAll("thead th"))
      expect(head.scope === "col" && head.querySelector("button"), `${head.textContent}: no sort`);
    for (const row of table.tBodies[0].rows)
      expect(row.cells[0].scope === "row", `a row of "${table.caption?.textContent}" has no name`);
  }
  for (const svg of all("svg")) {
    const label = document.getElementById(svg.getAttribute("aria-labelledby"));
    expect(svg.getAttribute("role") === "img" && label?.textContent, "a drawing has no name");
  }
  for (const section of all("main section"))
    expect(section.querySelector("h2") || section.ariaLabel, "a section has no name");
  expect(document.querySelector("[aria-live]"), "nothing announces what was sorted");
  return flaws;
}"""


@contextmanager
def opened(
    browser: Any, path: Path, width: int = WIDTHS[-1], scheme: str = "light"
) -> Iterator[tuple[Any, list[str]]]:
    """Give the page and the list of what went wrong: console errors, and requests to elsewhere."""
    problems: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    own = path.resolve().as_uri()

    def request(made: Any) -> None:
        if made.url.partition("#")[0] != own and not made.url.startswith("data:"):
            problems.append(f"requests {made.url}")

    page.on("request", request)
    page.on("pageerror", lambda error: problems.append(f"raises {error}"))
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and problems.append(f"says {said.text}"),
    )
    try:
        page.goto(own)
        yield page, problems
    finally:
        context.close()


def assert_loads_alone(browser: Any, path: Path) -> None:
    """The page is small, asks for nothing but itself, and nothing goes wrong."""
    assert path.stat().st_size < MAX_BYTES
    with opened(browser, path) as (_, problems):
        assert problems == []


def assert_structure(browser: Any, path: Path) -> None:
    """Landmarks, headings, tables, drawings and ids are as a screen reader needs them."""
    with opened(browser, path) as (page, _):
        assert page.evaluate(_FLAWS) == []


def assert_fits(browser: Any, path: Path) -> None:
    """The page is never wider than the window, also with everything unfolded."""
    for width in WIDTHS:
        with opened(browser, path, width) as (page, _):
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width
            hidden = page.evaluate(
                """[...document.querySelectorAll(".scroll, .drawing")].filter((e) =>
                e.scrollWidth > e.clientWidth + 1 && e.tabIndex !== 0).length"""
            )
            assert hidden == 0, "a frame scrolls but cannot be reached by keyboard"


def assert_contrast(browser: Any, path: Path) -> None:
    """Texts stand out by 4.5 to 1, large ones by 3 to 1 (WCAG 2.2, AA); dark is dark."""
    for scheme in SCHEMES:
        with opened(browser, path, scheme=scheme) as (page, _):
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            darkness = page.evaluate(_DARKNESS)
            assert darkness < 0.05 if scheme == "dark" else darkness > 0.8, (scheme, darkness)
            assert page.evaluate(_FAINT) == [], scheme


def assert_theme_toggles(browser: Any, path: Path) -> None:
    """The button changes the theme to the other one and back."""
    with opened(browser, path) as (page, _):
        seen = []
        for _step in range(3):
            seen.append(page.evaluate(_DARKNESS) < 0.05)
            page.locator("#theme").click()
        assert seen == [False, True, False]


def assert_sorts(browser: Any, path: Path) -> None:
    """Every column sorts, up and down, by mouse and by keyboard, and it is said."""
    with opened(browser, path) as (page, problems):
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        tables = page.locator("table.sortable")
        assert tables.count() > 0
        table = max(
            (tables.nth(k) for k in range(tables.count())),
            key=lambda t: t.locator("tbody tr").count(),
        )
        heads = table.locator("thead th")
        for column in range(heads.count()):
            button = heads.nth(column).locator("button")
            for way in ("ascending", "descending"):
                button.focus()
                page.keyboard.press("Enter" if way == "ascending" else "Space")
                if heads.nth(column).get_attribute("aria-sort") != way:  # it came so sorted
                    button.click()
                assert heads.nth(column).get_attribute("aria-sort") == way
                assert table.locator("th[aria-sort]").count() == 1
                assert page.locator("#said").text_content().endswith(f"{way}.")
                assert _in_order(table, column, descending=way == "descending"), (column, way)
        assert problems == []


def _in_order(table: Any, column: int, *, descending: bool) -> bool:
    """Tell whether keys, or texts where no cell has a key, are in order with gaps last."""
    keys = table.evaluate(
        """(table, column) => {
        const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
        const keyed = cells.some((cell) => "key" in cell.dataset);
        return cells.map((c) => keyed ? c.dataset.key ?? null : c.textContent.trim() || null);
        }""",
        column,
    )
    there = [key for key in keys if key is not None]
    if keys != there + [None] * (len(keys) - len(there)):
        return False
    try:
        order: list[Any] = [float(key.replace("Infinity", "inf")) for key in there]
    except ValueError:  # texts: only that ascending and descending mirror one another is certain
        order = [key.lower().split()[0][:1] for key in there]
        if not all(part.isalpha() for part in order):
            return True
    return order == sorted(order, reverse=descending)


def assert_prints(browser: Any, path: Path) -> None:
    """On paper: light, without buttons that do nothing, all of each table."""
    with opened(browser, path, scheme="dark") as (page, _):
        page.locator("#theme").click()
        page.locator("#theme").click()
        assert page.evaluate(_INK) > 0.5, "the theme is not dark"
        page.emulate_media(media="print")
        assert page.evaluate(_DARKNESS) > 0.8
        assert page.evaluate(_INK) < 0.05
        assert not page.locator("#theme").is_visible()
        assert not page.locator("nav").is_visible()
        cut = page.evaluate(
            """[...document.querySelectorAll(".scroll")].filter((e) =>
            getComputedStyle(e).overflowX !== "visible").length"""
        )
        assert cut == 0
        assert page.pdf().startswith(b"%PDF")


CHECKS = (
    assert_loads_alone,
    assert_structure,
    assert_fits,
    assert_contrast,
    assert_theme_toggles,
    assert_sorts,
    assert_prints,
)


def assert_page_is_sound(browser: Any, path: Path) -> None:
    """Make all checks."""
    for check in CHECKS:
        check(browser, path)
