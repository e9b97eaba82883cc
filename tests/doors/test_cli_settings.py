"""Settings: which of flag, variable, file and default wins, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from duly.errors import InvalidSetting
from duly.model.lifecycle import CatchUp
from duly.settings import KNOWN, read_duration, read_settings


def settings(
    folder: Path, flags: dict[str, str | None] | None = None, **variables: str
) -> dict[str, tuple[object, str]]:
    found = read_settings(flags, environment=variables, folder=folder)
    return {name: (setting.value, setting.origin) for name, setting in found.by_name.items()}


def test_a_flag_outranks_a_variable_which_outranks_the_file_which_outranks_the_default(tmp_path: Path) -> None:
    assert settings(tmp_path)["store"] == ("sqlite:///duly.db", "default")
    (tmp_path / "duly.toml").write_text('store = "sqlite:///file.db"\nmisfire_grace = "2 min"\n')
    assert settings(tmp_path)["store"] == ("sqlite:///file.db", "duly.toml")
    assert settings(tmp_path, DULY_STORE="sqlite:///env.db")["store"] == ("sqlite:///env.db", "DULY_STORE")
    flags: dict[str, str | None] = {"store": "sqlite:///flag.db", "misfire_grace": None}
    found = settings(tmp_path, flags, DULY_STORE="sqlite:///env.db")
    assert found["store"] == ("sqlite:///flag.db", "--store")
    assert found["misfire_grace"] == (timedelta(minutes=2), "duly.toml")


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    assert settings(tmp_path, DULY_STORE=" ")["store"] == ("sqlite:///duly.db", "default")


def test_every_setting_is_read_from_its_variable(tmp_path: Path) -> None:
    variables = {
        "DULY_STORE": "sqlite:///a.db",
        "DULY_TIME_ZONE": "Europe/Berlin",
        "DULY_CATCH_UP_WINDOW": "Unlimited",
        "DULY_MISFIRE_GRACE": "90s",
        "DULY_CHRONOLOGY": "strict",
        "DULY_CLOCK_JUMP": "fire",
        "DULY_ENVIRONMENT": "staging",
        "DULY_HANDLERS": "shop.handlers:register, shop.more:Handlers.declare",
        "DULY_RECOVERY_RATE": "2.5",
    }
    assert set(variables) == {known.variable for known in KNOWN}
    found = read_settings(environment=variables, folder=tmp_path)
    assert (found.store, found.time_zone) == ("sqlite:///a.db", "Europe/Berlin")
    assert (found.catch_up_window, found.misfire_grace) == (None, timedelta(seconds=90))
    assert (found.chronology, found.clock_jump) == ("strict", "fire")
    assert found.environment == "staging"
    assert found.handlers == ("shop.handlers:register", "shop.more:Handlers.declare")
    assert found.recovery_rate == 2.5
    assert found.warnings == ()


def test_a_window_that_nobody_set_leaves_the_word_to_the_milestones(tmp_path: Path) -> None:
    assert read_settings(environment={}, folder=tmp_path).catch_up == CatchUp()
    found = read_settings(environment={"DULY_CATCH_UP_WINDOW": "24h"}, folder=tmp_path)
    assert found.catch_up == CatchUp(window=timedelta(hours=24))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("24h", timedelta(hours=24)),
        ("25h", timedelta(hours=25)),
        ("90m", timedelta(minutes=90)),
        ("2 days", timedelta(days=2)),
        ("1 h 30 min", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1 day and 2 hours", timedelta(hours=26)),
        ("1.5 Hours", timedelta(minutes=90)),
        ("1 week", timedelta(days=7)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, length: timedelta) -> None:
    assert read_duration(text, what="window") == length


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("24", "'24' has no unit; write 24h, 24m or 24s"),
        ("-1h", "'-1h' is negative; use a duration from zero up"),
        ("1e9d", "has an unknown unit 'e'; use s, min, h, days or weeks"),
        ("1000000000d", "is longer than 36,500 days"),
        ("36000 d 600 d", "is longer than 36,500 days"),
        ("9" * 5000 + "d", "is longer than 36,500 days"),
        ("3 months", "has an unknown unit 'months'"),
        ("5M", "has an unknown unit 'M'"),
        ("soon", "is no duration"),
        ("", "is no duration"),
        ("inf h", "is no duration"),
        ("\uff12\uff14h", "is no duration"),
    ],
)
def test_bad_input_81_a_duration_that_cannot_be_meant_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^window ") as refusal:
        read_duration(text, what="window")
    assert remedy in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stroe = 'sqlite:///a.db'", "unknown key 'stroe'; did you mean store?"),
        ("catch_up_window = 24", "duly.toml: catch_up_window 24 has no unit; write 24h"),
        ("store = 5", "duly.toml: store 5 is not a URL"),
        ("time_zone = 'PST'", "duly.toml: time_zone: "),
        ("chronology = 'loose'", "'loose' is neither 'event' nor 'strict'"),
        ("misfire_grace = 'unlimited'", "is no duration"),
        ('environment = "a\\u0007b"', "is no name; write for example production"),
        ("environment = ' '", "is no name"),
        ("environment = 7", "duly.toml: environment 7 is no name"),
        ("store = ", "this is not TOML"),
        ("\udcff", "this is not TOML"),
    ],
)
def test_a_file_with_a_slip_is_refused_and_the_slip_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "duly.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidSetting) as refusal:
        settings(tmp_path)
    assert said in str(refusal.value)


def test_a_folder_called_duly_toml_is_no_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / "duly.toml").mkdir()
    assert settings(tmp_path)["store"][1] == "default"


def test_bad_input_84_a_variable_that_looks_like_a_setting_and_is_none_is_warned_about(tmp_path: Path) -> None:
    found = read_settings(environment={"DULY_STOER": "x", "DULY_TRACEBACK": "1", "OTHER": "y"}, folder=tmp_path)
    assert found.warnings == ("DULY_STOER is not a setting of Duly; did you mean DULY_STORE?",)
