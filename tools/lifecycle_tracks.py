"""The upper half of a picture: the states of each track, the arrows between them, and the notices."""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle_canvas import (
    BELOW,
    BOX,
    FIRST,
    LANE,
    LINE,
    MARGIN,
    NAMES,
    NOTICE,
    STATE,
    UNDATED,
    Canvas,
    number,
    text_width,
)

from duly.model.lifecycle import Lifecycle, Milestone, Track


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


def _box_width(state: str) -> float:
    return text_width(state) + 24


def _places(chain: Chain, x: float) -> list[float]:
    """Return where each state of a chain begins, so that between two of them their milestone can be read."""
    places = [x]
    for end, state in enumerate(chain.states[:-1], start=1):
        labels = [a for a in chain.arrows if a.end == end and a.start == end - 1]
        x += _box_width(state) + max(max(text_width(a.milestone, 11), text_width(a.remark, 9.5)) for a in labels) + 34
        places.append(x)
    return places


def tracks_width(lifecycle: Lifecycle) -> float:
    """Return how wide a picture must be for its tracks and notices."""
    left = _left(lifecycle)
    ends = [left]
    for track in lifecycle.tracks:
        chain = chain_of(lifecycle, track)
        ends.append(_places(chain, left)[-1] + _box_width(chain.states[-1]))
    ends += [
        left + _notice_width(milestone) + 10 + text_width(_notice_said(lifecycle, milestone), 9.5)
        for milestone in _notices(lifecycle)
    ]
    return max(ends) + MARGIN


def _left(lifecycle: Lifecycle) -> float:
    """Return where the first states begin, behind the longest name of a track."""
    return MARGIN + max(NAMES, *(text_width(track.name, 13) + 16 for track in lifecycle.tracks))


def draw_tracks(canvas: Canvas, lifecycle: Lifecycle, y: float) -> float:
    """Draw one track below the other; return where the last ends."""
    for track in lifecycle.tracks:
        chain = chain_of(lifecycle, track)
        places = _places(chain, _left(lifecycle))
        middle = y + 30
        canvas.write(MARGIN, middle + 4, track.name, style="head")
        for place, state in enumerate(chain.states):
            _draw_state(canvas, places[place], middle, state, STATE if place else FIRST)
        _draw_ways(canvas, chain, places, middle)
        y += LANE + max(_draw_undated(canvas, track, chain, places, middle), BELOW * len(_arcs(chain)))
    return y


def _draw_ways(canvas: Canvas, chain: Chain, places: list[float], middle: float) -> None:
    for arrow in chain.arrows:
        if arrow.end > arrow.start:
            _draw_arrow(canvas, chain, places, middle, arrow)
    for depth, arc in enumerate(_arcs(chain), start=1):
        start, end = _arc_ends(chain, places, arc)
        _draw_arc(canvas, start, end, middle + BOX / 2 + 3, middle + BELOW * depth, arc)


def _arcs(chain: Chain) -> list[Arrow]:
    return [arrow for arrow in chain.arrows if arrow.end <= arrow.start]


def _draw_undated(canvas: Canvas, track: Track, chain: Chain, places: list[float], middle: float) -> float:
    """Draw the state of an event that dates nothing of the track; return how far below the track it is."""
    if track.undated in {"", *chain.states}:
        return 0
    x = places[0]
    end = x + _box_width(track.undated) + 10 + text_width(UNDATED, 9.5)
    # Beside the arcs there may be room for it, or else it goes below them.
    is_crossed = any(_arc_ends(chain, places, arc)[1] < end + 10 for arc in _arcs(chain))
    below = float(BELOW * (len(_arcs(chain)) + 1 if is_crossed else 1))
    _draw_state(canvas, x, middle + below, track.undated, FIRST, is_dashed=True)
    canvas.write(x + _box_width(track.undated) + 10, middle + below + 4, UNDATED, style="remark")
    return below


def _arc_ends(chain: Chain, places: list[float], arc: Arrow) -> tuple[float, float]:
    """Return from where to where an arc goes; one that stays in its state needs some width to be seen."""
    start = places[arc.start] + _box_width(chain.states[arc.start]) / 2
    end = places[arc.end] + _box_width(chain.states[arc.end]) / 2
    return (start + 13, end - 13) if arc.start == arc.end else (start, end)


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
    canvas.add("rect", x=x, y=middle - BOX / 2, width=width, height=BOX, rx=9, fill=ground, stroke=edge, **dashes)
    canvas.write(x + width / 2, middle + 4, state, text_anchor="middle", fill=ink)


def _draw_arrow(canvas: Canvas, chain: Chain, places: list[float], middle: float, arrow: Arrow) -> None:
    start = places[arrow.start] + _box_width(chain.states[arrow.start]) + 3
    end = places[arrow.end] - 3
    canvas.add("line", x1=start, y1=middle, x2=end, y2=middle, stroke=LINE, marker_end="url(#tip)")
    canvas.write((start + end) / 2, middle - 7, arrow.milestone, style="label", text_anchor="middle")
    if arrow.remark:
        canvas.write((start + end) / 2, middle + 16, arrow.remark, style="remark", text_anchor="middle")


def _draw_arc(canvas: Canvas, start: float, end: float, top: float, bottom: float, arrow: Arrow) -> None:
    """Draw a way back, below the states; its milestone stands inside if there is room, or else beside it."""
    way = (
        f"M{number(start)} {number(top)}V{number(bottom - 10)}Q{number(start)} {number(bottom)} "
        f"{number(start - 10)} {number(bottom)}H{number(end + 10)}Q{number(end)} {number(bottom)} "
        f"{number(end)} {number(bottom - 10)}V{number(top)}"
    )
    canvas.add("path", d=way, fill="none", stroke=LINE, marker_end="url(#tip)")
    width = text_width(arrow.milestone, 11)
    if width + 16 < start - end:
        canvas.write((start + end) / 2, bottom - 7, arrow.milestone, style="label", text_anchor="middle")
        canvas.write((start + end) / 2, bottom + 15, arrow.remark, style="remark", text_anchor="middle")
    else:
        canvas.write(start + 10, bottom - 2, arrow.milestone, style="label")
        canvas.write(start + 18 + width, bottom - 2, arrow.remark, style="remark")


def draw_notices(canvas: Canvas, lifecycle: Lifecycle, y: float) -> float:
    """Draw one notice below the other; return where the last ends."""
    x = _left(lifecycle)
    for milestone in _notices(lifecycle):
        middle, width = y + 14, _notice_width(milestone)
        canvas.write(MARGIN, middle + 4, "notice", style="head")
        canvas.add("rect", x=x, y=middle - 13, width=width, height=26, rx=13, fill=NOTICE[0], stroke=NOTICE[1])
        canvas.add("circle", cx=x + 14, cy=middle, r=3.5, fill=NOTICE[2])
        canvas.write(x + 24, middle + 4, milestone.name, style="label")
        canvas.write(x + width + 10, middle + 4, _notice_said(lifecycle, milestone), style="remark")
        y += 42
    return y + 10


def _notices(lifecycle: Lifecycle) -> list[Milestone]:
    return [milestone for milestone in lifecycle.milestones if milestone.is_notice]


def _notice_width(milestone: Milestone) -> float:
    return text_width(milestone.name, 11) + 34


def _notice_said(lifecycle: Lifecycle, milestone: Milestone) -> str:
    until = lifecycle.notice_until(milestone.name)
    said = f"at {milestone.default}, " if milestone.default else ""
    said += f"current until {until}" if until else "always current"
    return f"{said}; enters no state".replace(" - ", " − ")
