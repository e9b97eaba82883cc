"""Bad inputs 57 to 64: what an id or a name may be, and what is refused."""

from __future__ import annotations

import unicodedata

import pytest

from duly.errors import InvalidEvent
from duly.model.names import check_id, check_text


def refusal_of_id(value: object) -> str:
    with pytest.raises(InvalidEvent) as refusal:
        check_id(value)
    message = str(refusal.value)
    assert message.startswith("event id")
    assert message.isascii() or message.replace("…", "").isascii(), "a message must not carry what it refuses"
    assert message.isprintable()
    assert len(message) < 200
    return message


def refusal_of_name(value: object) -> str:
    with pytest.raises(InvalidEvent) as refusal:
        check_text(value, what="event 'w12': name")
    message = str(refusal.value)
    assert message.startswith("event 'w12': name")
    assert message.isprintable()
    assert len(message) < 200
    return message


@pytest.mark.parametrize(
    "value",
    [
        "w12",
        "ARRCOSTU2025",
        "f1/2021/monaco-1",
        "Ümläut",
        "会议",
        "con",
        "NUL",
        "a b",
        "a:b",
        "42",
        ".hidden",
        "x" * 255,
    ],
)
def test_an_id_is_kept_as_it_is(value: str) -> None:
    assert check_id(value) == value


@pytest.mark.parametrize("value", [None, 5, True, 1.5, b"w12", ["w12"]])
def test_an_id_must_be_text(value: object) -> None:
    assert "must be text, not " in refusal_of_id(value)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img onerror=x>', "javascript:alert(1)", "</script>"]
)
def test_bad_input_57_markup_is_text_like_any_other(text: str) -> None:
    assert check_id(text) == text
    assert check_text(text, what="name") == text


def test_bad_input_57_a_line_separator_is_refused() -> None:
    assert "a line separator (U+2028)" in refusal_of_id("a\u2028b")
    assert "a line separator (U+2028)" in refusal_of_name("a\u2028b")
    assert "a paragraph separator (U+2029)" in refusal_of_name("a\u2029b")


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\u2060", "\ufeff", "\U000e0041"])
def test_bad_input_58_invisible_characters_are_refused(character: str) -> None:
    code = f"U+{ord(character):04X}"
    assert code in refusal_of_id(f"a{character}b")
    assert code in refusal_of_name(f"a{character}b")


@pytest.mark.parametrize("name", ["می\u200cخواهم", "👩\u200d🔬 day", "שלום \u200fmeetup"])  # noqa: RUF001
def test_bad_input_58_joiners_belong_to_the_spelling_of_a_name_but_not_to_an_id(name: str) -> None:
    assert check_text(name, what="name") == name
    assert "an invisible character" in refusal_of_id(name)


def test_bad_input_58_thousands_of_combining_marks_are_refused() -> None:
    assert "more than 30 combining marks in a row" in refusal_of_name("e" + "\u0301" * 900)
    assert "more than 30 combining marks in a row" in refusal_of_id("e" + "\u0316" * 31)
    assert "5,001 characters" in refusal_of_name("e" + "\u0301" * 5_000)
    assert check_text("e" + "\u0316" * 30, what="name")


def test_bad_input_58_an_id_in_two_spellings_cannot_be_two_events() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert check_id(composed) == composed
    assert "normalise it to NFC" in refusal_of_id(decomposed)
    assert check_text(decomposed, what="name") == composed


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
def test_bad_input_59_formulas_are_text_like_any_other(text: str) -> None:
    assert check_id(text) == text
    assert check_text(text, what="name") == text


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[31mb", "a\tb", "a\x00b", "a\x7fb", "a\x85b", "a\x9bb"])
def test_bad_input_60_control_characters_are_refused(text: str) -> None:
    assert f"a control character (U+{ord(text[1]):04X}) at position 2" in refusal_of_id(text)
    assert f"a control character (U+{ord(text[1]):04X}) at position 2" in refusal_of_name(text)


def test_bad_input_60_half_a_surrogate_pair_is_refused() -> None:
    assert "half of a surrogate pair (U+D800)" in refusal_of_id("a\ud800")
    assert "half of a surrogate pair (U+D800)" in refusal_of_name("a\ud800")


@pytest.mark.parametrize("value", ["", " ", "\u3000"])
def test_bad_input_61_an_empty_id_is_refused(value: str) -> None:
    assert "is empty" in refusal_of_id(value)


def test_bad_input_61_a_name_may_be_empty() -> None:
    assert check_text("", what="name") == ""
    assert check_text("   ", what="name") == ""


def test_bad_input_61_lengths_end_at_255_and_1000() -> None:
    assert check_id("x" * 255)
    assert "256 characters; at most 255" in refusal_of_id("x" * 256)
    assert "100,000 characters" in refusal_of_id("x" * 100_000)
    assert check_text("x" * 1_000, what="name")
    assert "1,001 characters; at most 1,000" in refusal_of_name("x" * 1_001)


@pytest.mark.parametrize("value", ["w12 ", " w12", "w12\u00a0", "w12\t"])
def test_bad_input_62_an_id_with_a_blank_at_its_end_is_refused(value: str) -> None:
    assert "begins or ends with a blank" in refusal_of_id(value)


def test_bad_input_62_case_tells_ids_apart_and_blanks_around_a_name_do_not_count() -> None:
    assert check_id("W12") != check_id("w12")
    assert check_text(" IA Summit ", what="name") == "IA Summit"


@pytest.mark.parametrize("value", [".", "..", "a/..", "../a", "a/./b", "a/../../b"])
def test_bad_input_63_segments_that_a_url_would_swallow_are_refused(value: str) -> None:
    assert "which a URL would swallow" in refusal_of_id(value)


@pytest.mark.parametrize("text", ["{0.__class__}", "%s%n", "${x}", "{{7*7}}"])
def test_bad_input_64_templates_are_text_like_any_other(text: str) -> None:
    assert check_id(text) == text
    assert check_text(text, what="name") == text


def test_a_name_is_composed() -> None:
    assert unicodedata.is_normalized("NFC", check_text("A\u030angstro\u0308m", what="name"))
