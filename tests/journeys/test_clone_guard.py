"""A copy of a store does not speak (P18): restored backups, copied folders, and the containers that are no copies."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from duly import Event, Scheduler
from duly.agenda import Agenda
from duly.clock import ManualClock
from duly.model.delivery import Retry, State
from duly.stores.residence import copy_of
from duly.stores.sqlite import SqliteStore
from tests.builders import HOUR, MINUTE, at
from tests.doors.terminal import Process, Terminal
from tests.engine.stage import in_a_loop, let_pass

RACE = {
    "event_id": "ARRCOSTU2025",
    "event_name": "Autonomous Robotics Race",
    "registration_start_date": "2025-08-27T20:30:00Z",
    "registration_end_date": "2025-08-27T21:45:00Z",
    "start_datetime": "2025-09-20T09:00:00Z",
    "end_datetime": "2025-09-20T17:00:00Z",
}


@dataclass
class Site:
    """One environment: a folder with a store in it, and what its receiver has been told, with which ids."""

    folder: Path
    clock: ManualClock
    told: list[tuple[str, str]] = field(default_factory=list)
    is_away: bool = False

    @property
    def path(self) -> Path:
        return self.folder / "duly.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def scheduler(self) -> Scheduler:
        made = Scheduler(self.url, clock=self.clock, node="a1")

        @made.on("*", name="crm", retry=Retry((timedelta(hours=1),) * 20, jitter=0))
        def tell(context: Any) -> None:
            if self.is_away:
                raise ConnectionError("the receiver is away")
            self.told.append((context.delivery_id, context.topic))

        return made

    async def run(self, micros: int = 0) -> None:
        """Have a scheduler up for a while."""
        async with self.scheduler() as scheduler:
            await scheduler.settled()
            await let_pass(self.clock, scheduler, micros)

    def status(self) -> str:
        with Agenda(self.url, clock=self.clock) as agenda:
            return str(agenda.get("ARRCOSTU2025").status)

    def copy(self) -> str | None:
        with Agenda(self.url, clock=self.clock) as agenda:
            return copy_of(agenda.store)

    def states(self) -> dict[str, State]:
        with Agenda(self.url, clock=self.clock) as agenda:
            return {each.topic: each.state for each in agenda.store.outbox.deliveries()}


@pytest.fixture
def production(tmp_path: Path) -> Site:
    (tmp_path / "production").mkdir()
    return Site(tmp_path / "production", ManualClock(at("2025-08-27 20:00")))


@pytest.fixture
def staging(tmp_path: Path, production: Site) -> Site:
    (tmp_path / "staging").mkdir()
    return Site(tmp_path / "staging", production.clock)


async def open_registration(site: Site) -> None:
    """Put the race, and let its registration open while the receiver is away: one delivery is pending."""
    site.is_away = True
    async with site.scheduler() as scheduler:
        await scheduler.put(Event.from_record(RACE))
        await let_pass(site.clock, scheduler, HOUR)
    site.is_away = False
    assert site.states() == {"registration_open": State.PENDING}


def back_up(site: Site, target: Path) -> None:
    store = SqliteStore(site.path)
    store.open(site.clock.now())
    store.backup(target, site.clock.now())
    store.close()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], production: Site) -> Terminal:
    """A command line in this process, on the clock of the sites."""
    terminal = Terminal(capsys, production.folder)
    terminal.clock = production.clock
    return terminal


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.end()


def test_scenario_27_a_backup_restored_in_staging_lists_what_it_would_send_and_sends_nothing_until_confirmed(
    production: Site, staging: Site, command: Terminal
) -> None:
    @in_a_loop
    async def until_the_backup() -> None:
        await open_registration(production)
        back_up(production, staging.path)
        await production.run(HOUR)

    @in_a_loop
    async def in_staging() -> None:
        await staging.run(HOUR)

    until_the_backup()
    identity = production.told[0][0].partition("-")[0]
    assert production.told == [(f"{identity}-1", "registration_open"), (f"{identity}-2", "registration_close")]

    # Recognised, and nothing is said; but what is due is fired, and every status is true.
    in_staging()
    assert staging.told == []
    assert staging.status() == "upcoming/registration_closed"
    assert staging.states() == {"registration_open": State.PARKED, "registration_close": State.PARKED}

    # It lists what it would send.
    said = command("check", "--store", staging.url)
    assert said.code == 1
    assert f"this store is a copy of {identity} (it is a backup of 2025-08-27T21:00:00Z)" in said.out
    assert "It would send 2 deliveries: 2 to crm." in said.out
    assert f"{identity}-1" in said.out
    assert f"this store is a copy of {identity}" in command("status", "--store", staging.url).out
    would_send = command("check", "--json", "--store", staging.url).json["copy"]["would_send"]
    assert [each["topic"] for each in would_send] == ["registration_close", "registration_open"]

    # Confirmed: from now on it speaks, in its own name. What is parked waits for somebody to release it.
    said = command("check", "--adopt", "--store", staging.url)
    assert said.code == 0
    assert "duly release --all --yes" in said.out
    in_staging()
    assert staging.told == []
    staging.clock.set(at("2025-09-20 10:00"))
    in_staging()
    [(id_, topic)] = staging.told
    assert (topic, identity in id_) == ("event_start", False)
    assert command("check", "--store", staging.url).code == 0
    assert command("release", "--all", "--yes", "--store", staging.url).code == 0
    in_staging()
    assert [topic for _, topic in staging.told[1:]] == ["registration_open", "registration_close"]

    # The original has never been anything else.
    assert production.copy() is None


@in_a_loop
async def test_a_folder_copied_to_another_place_is_silent_there_and_the_original_goes_on(
    production: Site, staging: Site
) -> None:
    await open_registration(production)
    shutil.copytree(production.folder, staging.folder, dirs_exist_ok=True)
    await staging.run(MINUTE)
    assert staging.told == []
    assert "its file is not the one that it lived in" in str(staging.copy())
    await production.run(HOUR)
    assert [topic for _, topic in production.told] == ["registration_open", "registration_close"]


@in_a_loop
async def test_a_volume_whose_every_byte_is_the_same_is_silent_where_the_environment_has_another_name(
    production: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DULY_ENVIRONMENT", "production")
    await open_registration(production)
    # A snapshot of the volume, mounted in staging: nothing in the file can tell it.
    monkeypatch.setenv("DULY_ENVIRONMENT", "staging")
    await production.run(HOUR)
    assert production.told == []
    assert production.states() == {"registration_open": State.PARKED, "registration_close": State.PARKED}
    assert "it lived in the environment 'production', and this one is 'staging'" in str(production.copy())


@in_a_loop
async def test_what_had_been_told_before_the_store_was_put_back_to_yesterday_is_not_told_again(
    production: Site, tmp_path: Path
) -> None:
    await open_registration(production)
    yesterday = tmp_path / "yesterday.db"
    shutil.copyfile(production.path, yesterday)
    await production.run(HOUR)
    told = list(production.told)
    assert len(told) == 2
    shutil.copyfile(yesterday, production.path)
    await production.run()
    assert production.told == told
    assert "its file has been put back to an earlier state" in str(production.copy())


def test_a_container_that_is_killed_and_recreated_on_its_volume_is_no_copy_and_a_copied_volume_is(
    tmp_path: Path, processes: list[Process]
) -> None:
    def run_and_kill(folder: Path) -> list[str]:
        process = Process(folder, "run", "campus.json", "--store", "sqlite:///data/duly.db")
        processes.append(process)
        process.wait_for("Next: ")
        process.signal(signal.SIGKILL)
        process.wait()
        return process.lines

    (tmp_path / "data").mkdir()
    race = {**RACE, "start_datetime": "2099-01-01T10:00:00Z", "end_datetime": "2099-01-02T10:00:00Z"}
    (tmp_path / "campus.json").write_text(json.dumps([race]), encoding="utf-8")
    for _ in range(3):
        assert not any("copy" in line for line in run_and_kill(tmp_path))
    other = tmp_path / "other host"
    shutil.copytree(tmp_path / "data", other / "data")
    shutil.copy(tmp_path / "campus.json", other)
    assert any("this store is a copy of" in line for line in run_and_kill(other))
    assert not any("copy" in line for line in run_and_kill(tmp_path))
