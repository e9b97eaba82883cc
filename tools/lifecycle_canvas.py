"""What every part of a picture of a lifecycle is drawn with: measures, colours, and a canvas."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

# Every name is set in a fixed-width face, so that its width is known without measuring: no text can overlap.
MONO: Final = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
EM: Final = 0.61  # the widest of those fixed-width faces, per character and pixel of size

MARGIN: Final = 28
NAMES: Final = 128  # the column of the tracks' names
BOX: Final = 32  # the height of a state
LANE: Final = 68  # the height of a track without anything below it
BELOW: Final = 44  # from the middle of a state to that of what is below it: an undated state, an arc
GAP: Final = 14  # between the columns of the season
ROW: Final = 36  # the height of a step of the season

INK: Final = "#1e293b"
SOFT: Final = "#64748b"
LINE: Final = "#94a3b8"
CARD: Final = "#ffffff"
RULE: Final = "#e2e8f0"
TINTS: Final = {  # of a status: its ground, its edge, its ink
    "draft": ("#fef3c7", "#f59e0b", "#78350f"),
    "upcoming": ("#dbeafe", "#60a5fa", "#1e3a8a"),
    "ongoing": ("#dcfce7", "#4ade80", "#14532d"),
    "completed": ("#e2e8f0", "#94a3b8", "#334155"),
}
STATE: Final = ("#eef2ff", "#a5b4fc", "#312e81")
NOTICE: Final = ("#fff7ed", "#fdba74", "#ea580c")
FIRST: Final = ("#ffffff", "#94a3b8", "#475569")
OWN_INK: Final = ("remark", "head")
UNDATED: Final = "if none is dated"


class Canvas:
    """Elements of an SVG in the order in which they are drawn."""

    def __init__(self) -> None:
        """Begin empty."""
        self.elements: list[str] = []

    def add(self, name: str, text: str = "", /, **attributes: object) -> None:
        """Add one element; underscores in the names of attributes are hyphens."""
        said = "".join(f' {key.replace("_", "-")}="{number(value)}"' for key, value in attributes.items())
        self.elements.append(f"<{name}{said}>{escape(text)}</{name}>" if text else f"<{name}{said}/>")

    def write(
        self, x: float, y: float, text: str, /, *, style: str = "name", fill: str = INK, **attributes: object
    ) -> None:
        """Add text at its baseline; `style` is a class of the style sheet."""
        said = {} if style in OWN_INK else {"fill": fill}
        self.add("text", text, x=x, y=y, **{"class": style}, **said, **attributes)


def number(value: object) -> str:
    """Return the value of an attribute; a length to a tenth of a pixel, so that every platform writes the same."""
    return escape(f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value), {'"': "&quot;"})


def text_width(text: str, size: float = 12) -> float:
    """Return how wide a text in the fixed-width face is at most, in pixels."""
    return len(text) * size * EM
