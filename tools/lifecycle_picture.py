"""A lifecycle → its picture as SVG: the states of each track, and below them a season's statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from lifecycle_canvas import (
    CARD,
    FIRST,
    GAP,
    LINE,
    MARGIN,
    MONO,
    NOTICE,
    ROW,
    RULE,
    SANS,
    SOFT,
    STATE,
    TINTS,
    Canvas,
    number,
    text_width,
)
from lifecycle_tracks import chain_of, draw_notices, draw_tracks, tracks_width

from duly.model.event import EventRow
from duly.model.lifecycle import Lifecycle
from duly.rules.status import status_at, track_states_at


def picture(lifecycle: Lifecycle) -> str:
    """Return the whole SVG. The same lifecycle gives the same text, byte for byte."""
    canvas = Canvas()
    width = max(tracks_width(lifecycle), _season_width(lifecycle))
    canvas.write(MARGIN, MARGIN + 16, lifecycle.title or lifecycle.name, style="title")
    y = draw_tracks(canvas, lifecycle, MARGIN + 40)
    y = draw_notices(canvas, lifecycle, y)
    canvas.add("line", x1=MARGIN, x2=width - MARGIN, y1=y, y2=y, stroke=RULE)
    height = _draw_season(canvas, lifecycle, y + 34, width) + MARGIN
    return _frame(canvas, lifecycle, width, height)


# The card is white on dark pages too: one picture, whose colours are known to be legible on it.
_FRAME: Final = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}" width="{{width}}" role="img" \
aria-labelledby="title description">
<title id="title">The lifecycle “{{name}}”</title>
<desc id="description">{{spoken}}</desc>
<style>
.name{{{{font:12px {MONO}}}}}
.label{{{{font:11px {MONO}}}}}
.remark{{{{font:italic 10.5px {SANS};fill:{SOFT}}}}}
.head{{{{font:600 12px {SANS};fill:{SOFT}}}}}
.title{{{{font:600 19px {SANS}}}}}
</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0.5L8 4L0 7.5z" fill="{LINE}"/>
</marker>
</defs>
<rect x="0.5" y="0.5" width="{{inner_width}}" height="{{inner_height}}" rx="12" \
fill="{CARD}" stroke="{RULE}"/>
{{elements}}
</svg>
"""


def _frame(canvas: Canvas, lifecycle: Lifecycle, width: float, height: float) -> str:
    return _FRAME.format(
        width=number(width),
        height=number(height),
        inner_width=number(width - 1),
        inner_height=number(height - 1),
        name=escape(lifecycle.title or lifecycle.name),
        spoken=escape(_spoken(lifecycle)),
        elements="\n".join(canvas.elements),
    )


def _spoken(lifecycle: Lifecycle) -> str:
    """Return what the picture shows, for those who hear it."""
    said = []
    for track in lifecycle.tracks:
        chain = chain_of(lifecycle, track)
        steps = "".join(
            f", {arrow.milestone} to {chain.states[arrow.end]}" + (f" ({arrow.remark})" if arrow.remark else "")
            for arrow in chain.arrows
        )
        said.append(f"Track {track.name}: from {chain.states[0]}{steps}.")
    return " ".join(said)


@dataclass(frozen=True, slots=True)
class Bar:
    """A text that holds from one step of the season until before another."""

    text: str
    start: int
    end: int


def season_of(lifecycle: Lifecycle) -> tuple[list[Bar], dict[str, list[Bar]]]:
    """Return the statuses, and each track's states, of an event that dates each milestone once, in order."""
    names = [milestone.name for milestone in lifecycle.milestones]
    row = EventRow(id="picture", dates={name: place for place, name in enumerate(names, start=1)})
    steps = range(len(names) + 1)
    states = [track_states_at(row, lifecycle, step) for step in steps]
    statuses = _bars([status_at(row, lifecycle, step) for step in steps])
    return statuses, {track.name: _bars([each[track.name] for each in states]) for track in lifecycle.tracks}


def _bars(texts: list[str]) -> list[Bar]:
    bars: list[Bar] = []
    for step, text in enumerate(texts):
        if bars and bars[-1].text == text:
            bars[-1] = Bar(text, bars[-1].start, step + 1)
        else:
            bars.append(Bar(text, step, step + 1))
    return bars


def _columns(lifecycle: Lifecycle) -> tuple[float, list[float]]:
    """Return the width of the milestones' names, and of the columns: the status, then the tracks."""
    statuses, tracks = season_of(lifecycle)
    names = max(text_width(milestone.name, 11) for milestone in lifecycle.milestones)
    widths = [max(text_width(bar.text) for bar in statuses) + 28]
    for track, bars in tracks.items():
        widths.append(max(text_width(track), *(text_width(bar.text, 11) for bar in bars)) + 20)
    return names, widths


def _season_width(lifecycle: Lifecycle) -> float:
    names, widths = _columns(lifecycle)
    return MARGIN * 2 + names + 30 + sum(widths) + GAP * (len(widths) - 1)


def _draw_season(canvas: Canvas, lifecycle: Lifecycle, y: float, width: float) -> float:
    """Draw time downwards, and side by side what holds when; return where it ends."""
    statuses, tracks = season_of(lifecycle)
    names, widths = _columns(lifecycle)
    wider = (width - _season_width(lifecycle)) / len(widths)
    axis, top = MARGIN + names + 14, y + 16
    _draw_axis(canvas, lifecycle, axis, top, width - MARGIN)
    x = axis + 16
    for place, (heading, bars) in enumerate((("status", statuses), *tracks.items())):
        column = widths[place] + wider
        canvas.write(x + column / 2, y, heading, style="head", text_anchor="middle")
        for bar in bars:
            _draw_bar(canvas, bar, x, column, top, is_status=place == 0)
        x += column + GAP
    return top + ROW * (len(lifecycle.milestones) + 1)


def _draw_axis(canvas: Canvas, lifecycle: Lifecycle, axis: float, top: float, right: float) -> None:
    """Draw the line of time with a dot for each milestone: orange for a notice, hollow if fired by hand."""
    end = top + ROW * (len(lifecycle.milestones) + 1)
    canvas.write(axis - 14, top - 16, "milestone", style="head", text_anchor="end")
    canvas.add("line", x1=axis, y1=top, x2=axis, y2=end - 3, stroke=LINE, marker_end="url(#tip)")
    for place, milestone in enumerate(lifecycle.milestones, start=1):
        y = top + ROW * place
        canvas.add("line", x1=axis, y1=y, x2=right, y2=y, stroke=LINE, stroke_dasharray="1 4")
        fill = NOTICE[2] if milestone.is_notice else CARD if milestone.manual else SOFT
        stroke = NOTICE[2] if milestone.is_notice else SOFT
        canvas.add("circle", cx=axis, cy=y, r=4, fill=fill, stroke=stroke, stroke_width=1.5)
        canvas.write(axis - 14, y + 4, milestone.name, style="label", text_anchor="end")


def _draw_bar(canvas: Canvas, bar: Bar, x: float, width: float, top: float, *, is_status: bool) -> None:
    if is_status:
        ground, edge, ink = TINTS.get(bar.text.partition("/")[0], STATE)
    else:
        ground, edge, ink = FIRST if bar.start == 0 else STATE
    y, height = top + bar.start * ROW + 2, (bar.end - bar.start) * ROW - 4
    canvas.add("rect", x=x, y=y, width=width, height=height, rx=7, fill=ground, stroke=edge)
    style = "name" if is_status else "label"
    canvas.write(x + width / 2, y + height / 2 + 4, bar.text, style=style, text_anchor="middle", fill=ink)
