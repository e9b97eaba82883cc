"""A lifecycle → its picture as SVG: the states of each track, and below them a season's statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from duly.model.event import EventRow
from duly.model.lifecycle import Lifecycle, Milestone, Track
from duly.rules.status import status_at, track_states_at

# Every name is set in a fixed-width face, so that its width is known without measuring: no text can overlap.
_MONO: Final = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_SANS: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
_EM: Final = 0.61  # the widest of those fixed-width faces, per character and pixel of size

_MARGIN: Final = 28
_NAMES: Final = 128  # the column of the tracks' names
_BOX: Final = 32  # the height of a state
_LANE: Final = 68  # the height of a track without anything below it
_BELOW: Final = 44  # from the middle of a state to that of what is below it: an undated state, an arc
_GAP: Final = 14  # between the columns of the season
_ROW: Final = 36  # the height of a step of the season

_INK: Final = "#1e293b"
_SOFT: Final = "#64748b"
_LINE: Final = "#94a3b8"
_CARD: Final = "#ffffff"
_RULE: Final = "#e2e8f0"
_TINTS: Final = {  # of a status: its ground, its edge, its ink
    "draft": ("#fef3c7", "#f59e0b", "#78350f"),
    "upcoming": ("#dbeafe", "#60a5fa", "#1e3a8a"),
    "ongoing": ("#dcfce7", "#4ade80", "#14532d"),
    "completed": ("#e2e8f0", "#94a3b8", "#334155"),
}
_STATE: Final = ("#eef2ff", "#a5b4fc", "#312e81")
_FIRST: Final = ("#ffffff", "#94a3b8", "#475569")
_OWN_INK: Final = ("remark", "head")
_UNDATED: Final = "if none is dated"


class Canvas:
    """Elements of an SVG in the order in which they are drawn."""

    def __init__(self) -> None:
        """Begin empty."""
        self.elements: list[str] = []

    def add(self, name: str, text: str = "", /, **attributes: object) -> None:
        """Add one element; underscores in the names of attributes are hyphens."""
        said = "".join(f' {key.replace("_", "-")}="{_number(value)}"' for key, value in attributes.items())
        self.elements.append(f"<{name}{said}>{escape(text)}</{name}>" if text else f"<{name}{said}/>")

    def write(
        self, x: float, y: float, text: str, /, *, style: str = "name", fill: str = _INK, **attributes: object
    ) -> None:
        """Add text at its baseline; `style` is a class of the style sheet."""
        said = {} if style in _OWN_INK else {"fill": fill}
        self.add("text", text, x=x, y=y, **{"class": style}, **said, **attributes)


def _number(value: object) -> str:
    return escape(
        f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value), {'"': "&quot;"}
    )


def _width(text: str, size: float = 12) -> float:
    return len(text) * size * _EM


@dataclass(frozen=True, slots=True)
class Arrow:
    """A milestone on its way from one state to another, by their places in the chain."""

    milestone: str
    start: int
    end: int
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """The states of a track in a row, and the arrows between them."""

    states: tuple[str, ...]
    arrows: tuple[Arrow, ...]


def chain_of(lifecycle: Lifecycle, track: Track) -> Chain:
    """Return the states of a track as a full season goes through them; an arc leads to an earlier place."""
    states, arrows = [track.before], []
    for milestone in lifecycle.milestones:
        if milestone.track != track.name:
            continue
        for state, remark in _entered(milestone):
            here = len(states) - 1
            if state in states:
                arrows.append(Arrow(milestone.name, here, states.index(state), remark))
            else:
                states.append(state)
                arrows.append(Arrow(milestone.name, here, here + 1, remark))
    return Chain(tuple(states), tuple(arrows))


def _entered(milestone: Milestone) -> list[tuple[str, str]]:
    state = milestone.state or ""
    if milestone.between:
        return [(milestone.between, "a round is left"), (state, "the last round")]
    if milestone.manual:
        return [(state, "by hand")]
    return [(state, "or implied" if milestone.implied else "")]


def picture(lifecycle: Lifecycle) -> str:
    """Return the whole SVG. The same lifecycle gives the same text, byte for byte."""
    canvas = Canvas()
    width = max(_tracks_width(lifecycle), _season_width(lifecycle))
    canvas.write(_MARGIN, _MARGIN + 16, lifecycle.title or lifecycle.name, style="title")
    y = _draw_tracks(canvas, lifecycle, _MARGIN + 40)
    y = _draw_notices(canvas, lifecycle, y)
    canvas.add("line", x1=_MARGIN, x2=width - _MARGIN, y1=y, y2=y, stroke=_RULE)
    height = _draw_season(canvas, lifecycle, y + 34, width) + _MARGIN
    return _frame(canvas, lifecycle, width, height)


# The card is white on dark pages too: one picture, whose colours are known to be legible on it.
_FRAME: Final = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}" width="{{width}}" role="img" \
aria-labelledby="title description">
<title id="title">The lifecycle “{{name}}”</title>
<desc id="description">{{spoken}}</desc>
<style>
.name{{{{font:12px {_MONO}}}}}
.label{{{{font:11px {_MONO}}}}}
.remark{{{{font:italic 10.5px {_SANS};fill:{_SOFT}}}}}
.head{{{{font:600 12px {_SANS};fill:{_SOFT}}}}}
.title{{{{font:600 19px {_SANS}}}}}
</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0.5L8 4L0 7.5z" fill="{_LINE}"/>
</marker>
</defs>
<rect x="0.5" y="0.5" width="{{inner_width}}" height="{{inner_height}}" rx="12" \
fill="{_CARD}" stroke="{_RULE}"/>
{{elements}}
</svg>
"""


def _frame(canvas: Canvas, lifecycle: Lifecycle, width: float, height: float) -> str:
    return _FRAME.format(
        width=_number(width),
        height=_number(height),
        inner_width=_number(width - 1),
        inner_height=_number(height - 1),
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
            f", {arrow.milestone} to {chain.states[arrow.end]}"
            + (f" ({arrow.remark})" if arrow.remark else "")
            for arrow in chain.arrows
        )
        said.append(f"Track {track.name}: from {chain.states[0]}{steps}.")
    return " ".join(said)


# ------------------------------------------------------------------------------------------------- the tracks


def _box_width(state: str) -> float:
    return _width(state) + 24


def _places(chain: Chain) -> list[float]:
    """Return where each state of a chain begins, so that between two of them their milestone can be read."""
    x = float(_MARGIN + _NAMES)
    places = [x]
    for end, state in enumerate(chain.states[:-1], start=1):
        labels = [a for a in chain.arrows if a.end == end and a.start == end - 1]
        x += _box_width(state) + max(max(_width(a.milestone, 11), _width(a.remark, 9.5)) for a in labels) + 34
        places.append(x)
    return places


def _tracks_width(lifecycle: Lifecycle) -> float:
    ends = []
    for track in lifecycle.tracks:
        chain = chain_of(lifecycle, track)
        ends.append(_places(chain)[-1] + _box_width(chain.states[-1]))
    return max(ends) + _MARGIN


def _draw_tracks(canvas: Canvas, lifecycle: Lifecycle, y: float) -> float:
    for track in lifecycle.tracks:
        chain = chain_of(lifecycle, track)
        places = _places(chain)
        middle = y + 30
        canvas.write(_MARGIN, middle + 4, track.name, style="head")
        for place, state in enumerate(chain.states):
            _draw_state(canvas, places[place], middle, state, _STATE if place else _FIRST)
        for arrow in chain.arrows:
            _draw_arrow(canvas, chain, places, middle, arrow)
        depth = max(_draw_undated(canvas, track, chain, places, middle), _BELOW if _arcs(chain) else 0)
        y += _LANE + depth
    return y


def _arcs(chain: Chain) -> list[Arrow]:
    return [arrow for arrow in chain.arrows if arrow.end <= arrow.start]


def _draw_undated(canvas: Canvas, track: Track, chain: Chain, places: list[float], middle: float) -> float:
    """Draw the state of an event that dates nothing of the track; return how far below the track it is."""
    if track.undated in {"", *chain.states}:
        return 0
    x = places[0]
    end = x + _box_width(track.undated) + 10 + _width(_UNDATED, 9.5)
    # Beside an arc there is room for it, or else it goes below.
    is_crossed = any(
        places[arc.end] + _box_width(chain.states[arc.end]) / 2 < end + 10 for arc in _arcs(chain)
    )
    below = float(_BELOW * 2 if is_crossed else _BELOW)
    _draw_state(canvas, x, middle + below, track.undated, _FIRST, is_dashed=True)
    canvas.write(x + _box_width(track.undated) + 10, middle + below + 4, _UNDATED, style="remark")
    return below


def _draw_state(
    canvas: Canvas,
    x: float,
    middle: float,
    state: str,
    tint: tuple[str, str, str],
    *,
    is_dashed: bool = False,
) -> None:
    ground, edge, ink = tint
    width = _box_width(state)
    dashes = {"stroke_dasharray": "4 3"} if is_dashed else {}
    canvas.add(
        "rect", x=x, y=middle - _BOX / 2, width=width, height=_BOX, rx=9, fill=ground, stroke=edge, **dashes
    )
    canvas.write(x + width / 2, middle + 4, state, text_anchor="middle", fill=ink)


def _draw_arrow(canvas: Canvas, chain: Chain, places: list[float], middle: float, arrow: Arrow) -> None:
    if arrow.end <= arrow.start:
        _draw_arc(canvas, chain, places, middle, arrow)
        return
    start = places[arrow.start] + _box_width(chain.states[arrow.start]) + 3
    end = places[arrow.end] - 3
    canvas.add("line", x1=start, y1=middle, x2=end, y2=middle, stroke=_LINE, marker_end="url(#tip)")
    canvas.write((start + end) / 2, middle - 7, arrow.milestone, style="label", text_anchor="middle")
    if arrow.remark:
        canvas.write((start + end) / 2, middle + 16, arrow.remark, style="remark", text_anchor="middle")


def _draw_arc(canvas: Canvas, chain: Chain, places: list[float], middle: float, arrow: Arrow) -> None:
    """Draw a way back, below the states."""
    start = places[arrow.start] + _box_width(chain.states[arrow.start]) / 2
    end = places[arrow.end] + _box_width(chain.states[arrow.end]) / 2
    top, bottom = middle + _BOX / 2 + 3, middle + _BELOW
    way = (
        f"M{_number(start)} {_number(top)}V{_number(bottom - 10)}Q{_number(start)} {_number(bottom)} "
        f"{_number(start - 10)} {_number(bottom)}H{_number(end + 10)}Q{_number(end)} {_number(bottom)} "
        f"{_number(end)} {_number(bottom - 10)}V{_number(top)}"
    )
    canvas.add("path", d=way, fill="none", stroke=_LINE, marker_end="url(#tip)")
    canvas.write((start + end) / 2, bottom - 7, arrow.milestone, style="label", text_anchor="middle")
    canvas.write((start + end) / 2, bottom + 15, arrow.remark, style="remark", text_anchor="middle")


def _draw_notices(canvas: Canvas, lifecycle: Lifecycle, y: float) -> float:
    for milestone in lifecycle.milestones:
        if not milestone.is_notice:
            continue
        middle = y + 14
        x, width = float(_MARGIN + _NAMES), _width(milestone.name, 11) + 34
        canvas.write(_MARGIN, middle + 4, "notice", style="head")
        canvas.add(
            "rect", x=x, y=middle - 13, width=width, height=26, rx=13, fill="#fff7ed", stroke="#fdba74"
        )
        canvas.add("circle", cx=x + 14, cy=middle, r=3.5, fill="#ea580c")
        canvas.write(x + 24, middle + 4, milestone.name, style="label")
        canvas.write(
            x + width + 10,
            middle + 4,
            _notice_said(milestone, lifecycle.notice_until(milestone.name)),
            style="remark",
        )
        y += 42
    return y + 10


def _notice_said(milestone: Milestone, until: str | None) -> str:
    said = f"at {milestone.default}, " if milestone.default else ""
    said += f"current until {until}" if until else "always current"
    return f"{said}; enters no state".replace(" - ", " − ")


# ------------------------------------------------------------------------------------------------- the season


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
    names = max(_width(milestone.name, 11) for milestone in lifecycle.milestones)
    widths = [max(_width(bar.text) for bar in statuses) + 28]
    for track, bars in tracks.items():
        widths.append(max(_width(track), *(_width(bar.text, 11) for bar in bars)) + 20)
    return names, widths


def _season_width(lifecycle: Lifecycle) -> float:
    names, widths = _columns(lifecycle)
    return _MARGIN * 2 + names + 30 + sum(widths) + _GAP * (len(widths) - 1)


def _draw_season(canvas: Canvas, lifecycle: Lifecycle, y: float, width: float) -> float:
    """Draw time downwards, and side by side what holds when; return where it ends."""
    statuses, tracks = season_of(lifecycle)
    names, widths = _columns(lifecycle)
    wider = (width - _season_width(lifecycle)) / len(widths)
    axis, top = _MARGIN + names + 14, y + 16
    _draw_axis(canvas, lifecycle, axis, top, width - _MARGIN)
    x = axis + 16
    for place, (heading, bars) in enumerate((("status", statuses), *tracks.items())):
        column = widths[place] + wider
        canvas.write(x + column / 2, y, heading, style="head", text_anchor="middle")
        for bar in bars:
            _draw_bar(canvas, bar, x, column, top, is_status=place == 0)
        x += column + _GAP
    return top + _ROW * (len(lifecycle.milestones) + 1)


def _draw_axis(canvas: Canvas, lifecycle: Lifecycle, axis: float, top: float, right: float) -> None:
    """Draw the line of time with a dot for each milestone: orange for a notice, hollow if fired by hand."""
    end = top + _ROW * (len(lifecycle.milestones) + 1)
    canvas.write(axis - 14, top - 16, "milestone", style="head", text_anchor="end")
    canvas.add("line", x1=axis, y1=top, x2=axis, y2=end - 3, stroke=_LINE, marker_end="url(#tip)")
    for place, milestone in enumerate(lifecycle.milestones, start=1):
        y = top + _ROW * place
        canvas.add("line", x1=axis, y1=y, x2=right, y2=y, stroke=_LINE, stroke_dasharray="1 4")
        fill = "#ea580c" if milestone.is_notice else _CARD if milestone.manual else _SOFT
        stroke = "#ea580c" if milestone.is_notice else _SOFT
        canvas.add("circle", cx=axis, cy=y, r=4, fill=fill, stroke=stroke, stroke_width=1.5)
        canvas.write(axis - 14, y + 4, milestone.name, style="label", text_anchor="end")


def _draw_bar(canvas: Canvas, bar: Bar, x: float, width: float, top: float, *, is_status: bool) -> None:
    if is_status:
        ground, edge, ink = _TINTS[bar.text.partition("/")[0]]
    else:
        ground, edge, ink = _FIRST if bar.start == 0 else _STATE
    y, height = top + bar.start * _ROW + 2, (bar.end - bar.start) * _ROW - 4
    canvas.add("rect", x=x, y=y, width=width, height=height, rx=7, fill=ground, stroke=edge)
    style = "name" if is_status else "label"
    canvas.write(x + width / 2, y + height / 2 + 4, bar.text, style=style, text_anchor="middle", fill=ink)
