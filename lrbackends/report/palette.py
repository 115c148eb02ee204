"""The colours of pages and figures, in both themes, and how each backend is drawn.

Figures are drawn in the light theme's colours. Saved as PNG or shown in a notebook they are right
as they are; in a page `lrbackends.report.page.svg` puts CSS variables in their place, which follow
the reader's theme. Hues are those that Okabe and Ito chose for the colour-blind (Color Universal
Design, 2008), darkened or lightened until each stands out from the ground by 3 to 1 or more;
backends differ by marker and dash as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# name of the CSS variable -> (light, dark)
THEME: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ink": ("#1d2126", "#e9e7e2"),
        "muted": ("#59616b", "#a6aeb8"),
        "line": ("#dcdad4", "#363c44"),
        "ground": ("#faf9f6", "#14171b"),
        "paper": ("#fffffe", "#1b1f24"),
        "accent": ("#0b5f8a", "#7cc4f0"),
        "good": ("#0b6b47", "#63d3a6"),
        "good-soft": ("#e3f3ea", "#14332a"),
        "bad": ("#b0261e", "#ff958b"),
        "bad-soft": ("#fbe7e4", "#43201e"),
        "warn": ("#7d5200", "#f2bf66"),
        "warn-soft": ("#faf0d8", "#3a2d12"),
        "series-1": ("#0072b2", "#56b4e9"),
        "series-2": ("#d55e00", "#ff8a4a"),
        "series-3": ("#009e73", "#2dc79b"),
        "series-4": ("#b4588f", "#e79cca"),
        "series-5": ("#96690a", "#e6bd4a"),
        "series-6": ("#6b7480", "#b3bcc6"),
        "heat-0": ("#f1f5f8", "#1c2733"),
        "heat-1": ("#dbe8f1", "#1d354a"),
        "heat-2": ("#bdd7e8", "#1f4562"),
        "heat-3": ("#98c2de", "#22577d"),
        "heat-4": ("#f6c5bd", "#6e2d28"),
    }
)
INK, MUTED, LINE, PAPER, ACCENT, GOOD, BAD, WARN = (
    THEME[name][0] for name in ("ink", "muted", "line", "paper", "accent", "good", "bad", "warn")
)
SERIES = tuple(light for name, (light, _) in THEME.items() if name.startswith("series-"))

WIDTH = 10.0  # inches: a figure of this width fills a page

# For `matplotlib.rc_context`: figures drawn under it suit pages, notebooks and PNG alike.
STYLE: Any = MappingProxyType(
    {
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": MUTED,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "axes.titleweight": "bold",
        "axes.facecolor": PAPER,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "grid.color": LINE,
        "legend.frameon": False,
        "font.size": 10,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
    }
)


@dataclass(frozen=True)
class Look:
    """How a series is drawn, wherever it appears.

    Attributes
    ----------
    color : str
        Of the light theme, as "#rrggbb".
    marker, linestyle : str
        As matplotlib names them.
    """

    color: str
    marker: str
    linestyle: str | tuple[int, tuple[int, ...]]


_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
)
_BUILT_IN = ("numpy", "numba", "jax")


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return how each of the series is drawn.

    NumPy, Numba and JAX look the same in every figure; the others take, in the order of ``names``,
    what is left. Colours come again after three others, with another marker and dash.

    Parameters
    ----------
    names : sequence of str
        Of backends, or whatever else is drawn.
    """
    others = [name for name in dict.fromkeys(names) if name not in _BUILT_IN]
    place = {name: k for k, name in enumerate(_BUILT_IN)}
    for k, name in enumerate(others):
        place[name] = len(_BUILT_IN) + k
    return {name: _look(place[name]) for name in names}


def look(name: str) -> Look:
    """Return how one series is drawn that shares a figure with built-in backends only."""
    return looks([name])[name]


def _look(place: int) -> Look:
    built_in = len(_BUILT_IN)
    free = len(SERIES) - built_in
    color = place if place < built_in else built_in + (place - built_in) % free
    return Look(SERIES[color], _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)])
