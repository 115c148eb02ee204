"""Text tables that fit 80 columns, drawn by rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 80


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    left: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> Table:
    """Return a plain table; columns named in ``left`` are left-aligned, the others right-aligned.

    The first column is always left-aligned; those in ``whole`` are never folded. Cells are plain
    text, never markup.
    """
    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for k, name in enumerate(columns):
        aligned_left = k == 0 or name in left
        drawn.add_column(
            Text(name),
            justify="left" if aligned_left else "right",
            overflow="fold",
            no_wrap=name in whole,
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def to_text(*parts: RenderableType, width: int = WIDTH) -> str:
    """Return tables and paragraphs as text without colours, no line wider than ``width``."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    for part in parts:
        console.print(Text(part) if isinstance(part, str) else part)
    out = console.file
    assert isinstance(out, io.StringIO)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
