"""What pages are made of: escaping, tables, figures that follow the theme, the palette."""

import math
import re
import xml.etree.ElementTree as ET
from importlib import resources
from itertools import combinations

import jinja2
import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from lrbackends.report import page, palette
from lrbackends.report.page import Cell, Column, Table

FIRST = 'A "drawing" & <more>'


def drawing(title: str, color: str = palette.SERIES[0]) -> str:
    with rc_context(palette.STYLE):
        figure = Figure(figsize=(4, 2), layout="constrained")
        axes = figure.subplots()
        axes.plot([1, 2, 3], [3, 1, 2], color=color, marker="o", label="a < b")
        axes.set_xlabel("rows")
        axes.grid(True)
        axes.legend()
        return str(page.svg(figure, title=title, description="What it shows."))


def ids(text: str) -> list[str]:
    return re.findall(r' id="([^"]+)"', text)


# -- figures


def test_a_figure_is_well_formed_and_named():
    root = ET.fromstring(drawing(FIRST))
    assert root.get("role") == "img"
    assert {"width", "height"}.isdisjoint(root.attrib)
    assert root.get("viewBox")
    named = {e.get("id"): e.text for e in root.iter() if e.tag in ("title", "desc")}
    assert named[root.get("aria-labelledby")] == FIRST
    assert named[root.get("aria-describedby")] == "What it shows."


def test_texts_stay_texts():
    texts = [e.text for e in ET.fromstring(drawing(FIRST)).iter("text")]
    assert {"rows", "a < b"} <= set(texts)
    assert "DejaVu" not in drawing(FIRST)


def test_figures_share_no_id_and_refer_to_their_own():
    one, other = drawing("one"), drawing("other")
    assert len(ids(one)) > 2
    for text in (one, other):
        assert len(set(ids(text))) == len(ids(text))
        referred = re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text)
        assert referred
        assert set(referred) <= set(ids(text))
    assert set(ids(one)).isdisjoint(ids(other))


def test_a_figure_does_not_style_the_page_or_load_anything():
    text = drawing(FIRST)
    assert "<style" not in text
    assert "metadata" not in text
    assert not text.startswith("<?xml")
    addresses = re.findall(r"https?://[^\"' )]+", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


def test_palette_colours_become_variables_and_others_stay():
    text = drawing(FIRST)
    assert {"var(--series-1)", "var(--ink)", "var(--muted)", "var(--line)"} <= set(
        re.findall(r"var\(--[\w-]+\)", text)
    )
    assert palette.SERIES[0] not in text
    assert "#123456" in drawing(FIRST, "#123456")


def test_the_same_figure_gives_the_same_text():
    assert drawing(FIRST) == drawing(FIRST)


# -- templates


def test_every_template_is_where_the_package_looks_for_it():
    folder = resources.files("lrbackends.report") / "templates"
    names = {file.name for file in folder.iterdir()}
    assert {"base.html", "parts.html", "style.css", "script.js"} <= names


def render_table(table: Table) -> str:
    source = page._environment().from_string(
        '{% import "parts.html" as parts %}{{ parts.table(table) }}'
    )
    return source.render(table=table)


def test_everything_in_a_table_is_escaped():
    evil = '"><script>alert(1)</script>'
    text = render_table(
        Table("t", evil, [Column(evil, evil)], [[Cell(evil, evil, note=evil)]], note=evil)
    )
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 6


@pytest.mark.parametrize(
    ("key", "shown"),
    [(0.5, "0.5"), (1e-9, "1e-09"), (3, "3"), (math.inf, "Infinity"), ("b", "b")],
)
def test_keys_are_as_javascript_reads_them(key, shown):
    assert f'data-key="{shown}"' in render_table(Table("t", "T", [Column("a")], [[Cell("x", key)]]))


def test_a_cell_without_a_key_has_none():
    assert "data-key" not in render_table(Table("t", "T", [Column("a")], [[Cell("x")]]))


def test_a_name_that_a_template_misses_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="kind"):
        page.render("base.html", title="Only this")


@pytest.mark.parametrize(
    ("text", "made"), [("Gradient 10×3, a/b", "gradient-10-3-a-b"), ("×", "part")]
)
def test_ids_made_of_texts(text, made):
    assert page.slug(text) == made


# -- palette


def contrast(a: str, b: str) -> float:
    """Return the contrast of WCAG 2.2."""

    def luminance(colour: str) -> float:
        c = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


TEXTS = ("ink", "muted", "accent", "good", "bad", "warn")
GROUNDS = ("ground", "paper")
PAIRS = [
    *((text, ground, 4.5) for text in TEXTS for ground in GROUNDS),
    *(("ink", f"heat-{k}", 4.5) for k in range(5)),
    *(("ink", f"{tone}-soft", 4.5) for tone in ("good", "bad", "warn")),
    *((tone, f"{tone}-soft", 4.5) for tone in ("good", "bad", "warn")),
    *((f"series-{k}", ground, 3.0) for k in range(1, 7) for ground in GROUNDS),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_colours_stand_out(ink, ground, least, theme):
    assert contrast(palette.THEME[ink][theme], palette.THEME[ground][theme]) >= least


def test_contrast_is_that_of_the_definition():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_no_two_variables_share_a_light_colour():
    light = [pair[0] for pair in palette.THEME.values()]
    assert len(set(light)) == len(light)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in light)


def test_backends_look_the_same_in_every_figure():
    one = palette.looks(["numpy", "numba", "jax", "torch"])
    other = palette.looks(["torch", "jax"])
    assert {name: one[name] for name in other} == other
    assert palette.look("jax") == one["jax"]


def test_series_differ_by_more_than_colour():
    looks = palette.looks(["numpy", "numba", "jax", *"abcde"])
    for (_, one), (_, other) in combinations(looks.items(), 2):
        assert one.marker != other.marker
        assert (one.color, one.linestyle) != (other.color, other.linestyle)
