"""Self-contained HTML pages: templates, and figures that follow the reader's theme.

A page needs no network: styles, script and figures are in it. See ``templates/base.html`` for the
skeleton and ``templates/parts.html`` for tables, verdicts, figures and facts.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lrbackends.report.palette import THEME

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"('[^;']+'|sans-serif)(, *('[^;']+'|[\w-]+))*")
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in THEME.items()}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        The heading.
    title : str
        What it means, shown on hovering and below the table's caption; "" for nothing.
    align : {"left", "right"}
        Numbers to the right.
    """

    name: str
    title: str = ""
    align: str = "left"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text : str
    key : float, str or None
        What it is sorted by. Cells without one are last, whichever the direction; where no cell of
        the column has one, the text decides.
    tone : str
        "good", "bad", "warn", "muted", or "heat-0" to "heat-4" for a cell of a heat map, where 4
        is beyond the limit; "" for none. Never the only carrier of a meaning.
    note : str
        Small print below the text.
    link : str
        The id of the part of this page that the text leads to.
    """

    text: str
    key: float | str | None = None
    tone: str = ""
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table that readers can sort by any column; its first column names the rows.

    Attributes
    ----------
    id : str
        Unique on the page.
    caption : str
    columns : sequence of Column
    rows : sequence of sequences of Cell
    sorted_by : int or None
        The column that the rows come sorted by, ascending.
    note : str
        What holds for the whole table; shown below it.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sorted_by: int | None = None
    note: str = ""


def slug(text: str) -> str:
    """Return ``text`` as an id: what is neither letter nor digit becomes a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lrbackends.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["key"] = _key
    environment.globals["theme"] = THEME
    environment.globals["version"] = metadata.version("lrbackends")
    return environment


def _key(value: float | str) -> str:
    """Return a key as JavaScript reads it."""
    if isinstance(value, str):
        return value
    return f"{value:.12g}" if math.isfinite(value) else str(value).replace("inf", "Infinity")


def render(template: str, /, **context: Any) -> str:
    """Return the page that a template makes of ``context``; everything in it is escaped.

    Parameters
    ----------
    template : str
        A file in ``templates``; pages extend ``base.html``.
    **context
        What the template names. A name that is missing is an error.
    """
    return _environment().get_template(template).render(**context)


def svg(figure: Figure, *, title: str, description: str = "") -> Markup:
    """Return a matplotlib figure as SVG to stand in a page.

    It scales to the width it is given, keeps text as text, and takes the colours of
    `lrbackends.report.palette` from the page's theme. Several may share a page: ids are its own.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn under `palette.STYLE`; left as it is.
    title, description : str
        For those who do not see it: what it is, and what it shows.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True)
    root = ET.fromstring(file.getvalue())
    _trim(root)
    own = "f" + hashlib.sha256(title.encode() + ET.tostring(root)).hexdigest()[:8]
    _use_variables(root)
    _rename(root, own)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    label = ET.Element(f"{{{_SVG}}}title", id=f"{own}-title")
    label.text = title
    root.insert(0, label)
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{own}-title",
        # In points, so that text is at most as large as it was drawn.
        "style": f"max-width: {width:g}pt; aspect-ratio: {width:g} / {height:g}; "
        "stroke-linejoin: round; stroke-linecap: butt",
    }
    if description:
        text = ET.Element(f"{{{_SVG}}}desc", id=f"{own}-description")
        text.text = description
        root.insert(1, text)
        root.set("aria-describedby", f"{own}-description")
    for element in root.iter():  # in HTML, SVG has no prefixes
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    return Markup(ET.tostring(root, encoding="unicode"))


def _trim(root: ET.Element) -> None:
    """Remove what a page has no use for, among it a style that would apply to all of the page."""
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
        if parent.tag == f"{{{_SVG}}}defs" and not len(parent):
            parent.tag = f"{{{_SVG}}}g"


def _use_variables(root: ET.Element) -> None:
    for element in root.iter():
        for name in ("style", "fill", "stroke"):
            value = element.get(name)
            if value is None:
                continue
            if "font" in value:
                value = _FONT.sub("var(--sans)", value)
            element.set(name, _COLOR.sub(lambda m: _VARIABLES.get(m[0].lower(), m[0]), value))


def _rename(root: ET.Element, own: str) -> None:
    """Make ids that are referred to unlike those of other figures, and drop the others."""
    used = {
        *(e.attrib[_HREF].removeprefix("#") for e in root.iter() if _HREF in e.attrib),
        *(i for e in root.iter() for v in e.attrib.values() for i in _REFERENCE.findall(v)),
    }
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id" and value not in used:
                del element.attrib["id"]
            elif name == "id":
                element.set("id", f"{own}-{value}")
            elif name == _HREF:
                del element.attrib[_HREF]
                element.set("href", f"#{own}-{value.removeprefix('#')}")
            else:
                element.set(name, _REFERENCE.sub(rf"url(#{own}-\1)", value))
