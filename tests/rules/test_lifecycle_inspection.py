"""A lifecycle that contradicts itself is refused when it is made, with the place and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from duly.errors import DulyError, InvalidLifecycle
from duly.model.inspection import states_of
from duly.model.lifecycle import Headline, Lifecycle, Milestone, Track

WORK = Track("work", before="idle")
REST = Track("rest", before="awake")
BEGIN = Milestone(name="begin", track="work", state="busy")
SLEEP = Milestone(name="sleep", track="rest", state="asleep")
ALWAYS = Headline("upcoming/always")


def make(**parts: Any) -> Lifecycle:
    """Make a lifecycle of one track and one milestone, but for the parts given."""
    return Lifecycle(**{"name": "job", "tracks": (WORK,), "milestones": (BEGIN,), **parts})


def refusal(**parts: Any) -> str:
    """Return the message with which a lifecycle of these parts is refused."""
    with pytest.raises(InvalidLifecycle) as refused:
        make(**parts)
    return str(refused.value)


def of_milestone(**parts: Any) -> str:
    """Return the message with which a lifecycle is refused that has one more milestone."""
    return refusal(milestones=(BEGIN, Milestone(**{"name": "more", **parts})))


def of_rules(*rules: Headline) -> str:
    """Return the message with which these rules over two tracks are refused."""
    return refusal(tracks=(WORK, REST), milestones=(BEGIN, SLEEP), headline=rules)


def test_what_makes_sense_is_accepted() -> None:
    assert make().name == "job"
    assert make(tracks=(WORK, REST), milestones=(BEGIN, SLEEP), headline=(ALWAYS,)).headline == (ALWAYS,)


# --------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    "word", ["", "Job", "9to5", "job-offer", "job offer", "jöb", "job#2", "_job", "job\n", "j" * 64]
)
def test_names_are_lower_case_words(word: str) -> None:
    right = "must be a lower-case word: letters, digits, underscores"
    assert refusal(name=word) == f"lifecycle '{word}': name {word!r} {right}"
    assert refusal(tracks=(Track(word, before="idle"),)) == f"lifecycle 'job': track {word!r} {right}"
    assert refusal(tracks=(Track("work", before=word),)) == f"lifecycle 'job': track 'work': before {word!r} {right}"
    assert of_milestone(name=word) == f"lifecycle 'job': milestone {word!r} {right}"
    state = of_milestone(track="work", state=word)
    assert state == f"lifecycle 'job': milestone 'more': state {word!r} {right}"
    between = of_milestone(track="work", state="done", repeats=True, between=word)
    assert between == f"lifecycle 'job': milestone 'more': state {word!r} {right}"


def test_the_state_of_an_undated_track_is_a_lower_case_word_or_left_out() -> None:
    assert "track 'work': undated 'N/A' must be" in refusal(tracks=(Track("work", "idle", "N/A"),))
    assert make(tracks=(Track("work", "idle", ""),)).tracks[0].undated == ""


def test_the_longest_word_has_63_letters() -> None:
    assert make(name="j" * 63).name == "j" * 63


# ----------------------------------------------------------------------------------------- what must be there


def test_without_a_track_there_is_no_lifecycle() -> None:
    assert refusal(tracks=()) == (
        "lifecycle 'job': has no track; one is enough, and its states are then the statuses"
    )


def test_without_a_milestone_there_is_no_lifecycle() -> None:
    assert refusal(milestones=()) == "lifecycle 'job': has no milestone, so nothing could ever happen"


def test_names_are_there_once() -> None:
    assert refusal(tracks=(WORK, WORK)) == "lifecycle 'job': track 'work' is there 2 times"
    assert refusal(milestones=(BEGIN,) * 3) == "lifecycle 'job': milestone 'begin' is there 3 times"


def test_two_milestones_are_not_dated_by_one_field() -> None:
    assert of_milestone(field="begin") == "lifecycle 'job': field 'begin' is there 2 times"
    by_hand = Milestone(name="more", manual=True)
    begin = Milestone(name="begin", field="more", track="work", state="busy")
    assert (
        refusal(milestones=(begin, by_hand))
        == "lifecycle 'job': field 'more' of 'begin' is the name of another milestone"
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"implied": True}, "'implied' is only for a milestone of a track: a notice enters no state"),
        (
            {"until": "begin", "track": "work", "state": "over"},
            "'until' is only for a notice: a state holds until the track leaves it",
        ),
        ({"default_if": "begin"}, "'default_if' needs a 'default'"),
    ],
)
def test_what_means_nothing_by_itself_is_refused(parts: dict[str, object], said: str) -> None:
    assert of_milestone(**parts) == f"lifecycle 'job', milestone 'more': {said}"


@pytest.mark.parametrize(
    "name", ["more#", "more#0", "more#1", "more#02", "more#1000", "more#" + "9" * 5000, "more#x"]
)
def test_a_round_is_a_number_from_two_on(name: str) -> None:
    lifecycle = make(milestones=(BEGIN, Milestone(name="more", repeats=True)))
    with pytest.raises(InvalidLifecycle, match="is not a round of 'more'"):
        lifecycle.milestone(name)


def test_the_zone_must_exist() -> None:
    assert refusal(zone="PST").startswith("lifecycle 'job': zone: ")
    assert refusal(zone="Mars/Phobos").startswith("lifecycle 'job': zone: ")
    assert make(zone="AoE").zone == "AoE"


# ------------------------------------------------------------------------------------------------ milestones


def test_the_track_of_a_milestone_must_exist() -> None:
    assert of_milestone(track="play", state="fun") == (
        "lifecycle 'job', milestone 'more': unknown track 'play'; it has: work"
    )


@pytest.mark.parametrize("parts", [{"track": "work"}, {"state": "done"}])
def test_a_track_and_a_state_go_together(parts: dict[str, str]) -> None:
    assert of_milestone(**parts) == (
        "lifecycle 'job', milestone 'more': a track and the state that it enters go together (a notice has neither)"
    )


def test_a_state_between_rounds_needs_rounds() -> None:
    assert of_milestone(track="work", state="done", between="busy") == (
        "lifecycle 'job', milestone 'more': 'between' is only for a milestone that repeats, and only if it enters a state"
    )


@pytest.mark.parametrize("key", ["default_if", "until"])
def test_a_milestone_that_another_names_must_exist(key: str) -> None:
    assert f"{key} names the unknown milestone 'begun'" in of_milestone(**{key: "begun", "default": "begin"})


@pytest.mark.parametrize("parts", [{"field": "more_at"}, {"default": "begin"}, {"required": True}])
def test_a_manual_milestone_has_no_date(parts: dict[str, Any]) -> None:
    assert of_milestone(manual=True, **parts) == (
        "lifecycle 'job', milestone 'more': "
        "a manual milestone has no date: it takes no field, no default and is not required"
    )


@pytest.mark.parametrize("default", ["2026-05-01", "2026-05-01T10:00Z"])
def test_a_default_is_relative(default: str) -> None:
    assert of_milestone(default=default) == (
        f"lifecycle 'job', milestone 'more': default '{default}' must be relative to another milestone"
    )


def test_a_default_hangs_on_a_milestone_that_exists() -> None:
    assert of_milestone(default="begun - 2 days") == (
        "lifecycle 'job', milestone 'more': default 'begun - 2 days' hangs on the unknown milestone 'begun'"
    )


@pytest.mark.parametrize("default", ["begin - 2 fortnights", "soon", "", "begin - 2 days at 25:00"])
def test_a_default_that_cannot_be_read_is_refused_with_its_place(default: str) -> None:
    with pytest.raises(DulyError, match="lifecycle 'job', milestone 'more'"):
        make(milestones=(BEGIN, Milestone(name="more", default=default)))


def test_bad_input_26_defaults_in_a_circle_are_refused() -> None:
    def notices(**defaults: str) -> tuple[Milestone, ...]:
        return (BEGIN, *(Milestone(name=name, default=default) for name, default in defaults.items()))

    assert refusal(milestones=notices(one="one - 1 day")) == (
        "lifecycle 'job': the defaults go in a circle: one → one"
    )
    assert refusal(milestones=notices(one="two + 1 day", two="three", three="one")) == (
        "lifecycle 'job': the defaults go in a circle: one → two → three → one"
    )
    # The one that leads into a circle is not in it: the message names only those that are.
    assert refusal(milestones=notices(outside="one", one="two", two="one")) == (
        "lifecycle 'job': the defaults go in a circle: one → two → one"
    )
    assert make(milestones=notices(one="two", two="begin - 1 day", three="two")).name == "job"


# ------------------------------------------------------------------------------------------------- headline


def test_several_tracks_need_rules() -> None:
    assert of_rules() == (
        "lifecycle 'job': more than one track needs headline rules, to make one status of their states"
    )


@pytest.mark.parametrize("status", ["upcoming", "", "Upcoming/open", "upcoming/", "/open", "a/b/c", "a b/c"])
def test_a_status_has_two_halves(status: str) -> None:
    assert of_rules(Headline(status)) == (
        f"lifecycle 'job', headline rule 1 ({status}): a status is written 'status/sub_status', in lower-case words"
    )


@pytest.mark.parametrize("hold", ["pending_approval", "postponed", "cancelled", "archived", "draft"])
def test_a_hold_is_not_the_status_of_a_lifecycle(hold: str) -> None:
    assert of_rules(Headline(f"{hold}/of_some_kind")) == (
        f"lifecycle 'job', headline rule 1 ({hold}/of_some_kind): "
        f"'{hold}' is the status of a hold, not of a lifecycle"
    )


def test_draft_twice_is_the_one_hold_that_a_lifecycle_may_say() -> None:
    rules = (Headline("draft/draft", undated=("begin",)), ALWAYS)
    assert make(headline=rules).shape(()).status(("idle",)) == "draft/draft"
    assert make(headline=rules).shape(("begin",)).status(("idle",)) == "upcoming/always"


def test_the_conditions_of_a_rule_name_tracks_states_and_milestones_that_exist() -> None:
    assert of_rules(ALWAYS, Headline("a/b", when={"play": ("fun",)})) == (
        "lifecycle 'job', headline rule 2 (a/b): unknown track 'play'; it has: work, rest"
    )
    assert of_rules(Headline("a/b", when={"work": ("busy", "asleep")})) == (
        "lifecycle 'job', headline rule 1 (a/b): track 'work' is never in state 'asleep'; only in: idle, busy"
    )
    assert of_rules(Headline("a/b", undated=("begun",)), ALWAYS) == (
        "lifecycle 'job', headline rule 1 (a/b): undated names the unknown milestone 'begun'"
    )


def test_every_combination_of_states_has_a_status() -> None:
    busy = Headline("ongoing/busy", when={"work": ("busy",)})
    asleep = Headline("upcoming/asleep", when={"rest": ("asleep",)})
    assert of_rules(busy, asleep) == (
        "lifecycle 'job': no headline rule matches when work idle, rest awake; add a last rule without conditions"
    )
    # A rule about undated milestones does not help those that are dated.
    assert "no headline rule matches when work idle, rest awake" in of_rules(
        busy, asleep, Headline("draft/draft", undated=("begin",))
    )


def test_every_rule_can_be_the_first_that_matches() -> None:
    assert of_rules(ALWAYS, Headline("ongoing/busy", when={"work": ("busy",)})) == (
        "lifecycle 'job': headline rule 2 (ongoing/busy) is unreachable: earlier rules take all"
    )
    narrower = Headline("a/b", when={"work": ("busy",), "rest": ("awake",)})
    wider = Headline("c/d", when={"work": ("busy",)})
    assert "headline rule 2 (a/b) is unreachable" in of_rules(wider, narrower, ALWAYS)
    assert make(tracks=(WORK, REST), milestones=(BEGIN, SLEEP), headline=(narrower, wider, ALWAYS)).name == "job"


def test_more_combinations_than_anyone_can_oversee_are_refused() -> None:
    tracks = tuple(Track(f"t{number}", before="off") for number in range(17))
    milestones = tuple(Milestone(name=f"m{number}", track=f"t{number}", state="on") for number in range(17))
    assert refusal(tracks=tracks, milestones=milestones, headline=(ALWAYS,)) == (
        "lifecycle 'job': 131072 combinations of states are more than anyone can oversee; use fewer tracks"
    )


# --------------------------------------------------------------------------------------------------- states


def test_the_states_of_a_track_are_told_in_the_order_in_which_they_come() -> None:
    lifecycle = make(
        tracks=(Track("work", before="idle", undated="unplanned"),),
        milestones=(
            BEGIN,
            Milestone(name="round", track="work", state="done", between="busy", repeats=True),
            Milestone(name="hint"),
        ),
    )
    assert states_of(lifecycle, "work") == ("unplanned", "idle", "busy", "done")
    assert states_of(make(), "work") == ("idle", "busy")
