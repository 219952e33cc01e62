"""What all figures share: colours, matplotlib's settings, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbind.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart with any colour vision.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
GREY, GRID = "#6B6B6B", "#E6E6E6"


@contextmanager
def fresh_style() -> Iterator[None]:
    """Matplotlib's defaults, whatever the user's settings, and names in SVG files that do not vary by run."""
    import matplotlib

    settings: Mapping[str, Any] = {
        "svg.hashsalt": "tfbind",
        "text.parse_math": False,  # a name may hold a $
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "savefig.dpi": 150,
        "figure.dpi": 150,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def save(figure: Figure, path_stem: str | Path) -> None:
    """Write a figure to `path_stem`.svg and .png."""
    with atomic_path(f"{path_stem}.svg") as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    with atomic_path(f"{path_stem}.png") as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
