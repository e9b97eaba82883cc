"""The names of zones: those in use, those that were replaced, and those that mean several things."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# What people write for a zone, and what they may have meant by it.
ABBREVIATIONS: Final[Mapping[str, str]] = {
    "PT": "America/Los_Angeles or UTC-8",
    "PST": "America/Los_Angeles or UTC-8",
    "PDT": "America/Los_Angeles or UTC-7",
    "PST8PDT": "America/Los_Angeles",
    "MT": "America/Denver or UTC-7",
    "MST": "America/Denver, America/Phoenix or UTC-7",
    "MDT": "America/Denver or UTC-6",
    "MST7MDT": "America/Denver",
    "CT": "America/Chicago or UTC-6",
    "CST": "America/Chicago, Asia/Shanghai or UTC-6",
    "CDT": "America/Chicago or UTC-5",
    "CST6CDT": "America/Chicago",
    "ET": "America/New_York or UTC-5",
    "EST": "America/New_York or UTC-5",
    "EDT": "America/New_York or UTC-4",
    "EST5EDT": "America/New_York",
    "AST": "America/Halifax, Asia/Riyadh or UTC-4",
    "ADT": "America/Halifax or UTC-3",
    "NST": "America/St_Johns or UTC-3:30",
    "NDT": "America/St_Johns or UTC-2:30",
    "AKST": "America/Anchorage or UTC-9",
    "AKDT": "America/Anchorage or UTC-8",
    "HST": "Pacific/Honolulu or UTC-10",
    "HDT": "America/Adak or UTC-9",
    "BRT": "America/Sao_Paulo or UTC-3",
    "ART": "America/Argentina/Buenos_Aires or UTC-3",
    "CLT": "America/Santiago or UTC-4",
    "COT": "America/Bogota or UTC-5",
    "WET": "Europe/Lisbon or UTC",
    "WEST": "Europe/Lisbon or UTC+1",
    "BST": "Europe/London, Asia/Dhaka or UTC+1",
    "CET": "Europe/Paris or UTC+1",
    "CEST": "Europe/Paris or UTC+2",
    "MET": "Europe/Paris or UTC+1",
    "MEZ": "Europe/Berlin or UTC+1",
    "MESZ": "Europe/Berlin or UTC+2",
    "EET": "Europe/Athens or UTC+2",
    "EEST": "Europe/Athens or UTC+3",
    "MSK": "Europe/Moscow or UTC+3",
    "TRT": "Europe/Istanbul or UTC+3",
    "SAST": "Africa/Johannesburg or UTC+2",
    "CAT": "Africa/Maputo or UTC+2",
    "EAT": "Africa/Nairobi or UTC+3",
    "WAT": "Africa/Lagos or UTC+1",
    "IDT": "Asia/Jerusalem or UTC+3",
    "IST": "Asia/Kolkata (UTC+5:30), Asia/Jerusalem (UTC+2) or Europe/Dublin (UTC+1)",
    "GST": "Asia/Dubai or UTC+4",
    "PKT": "Asia/Karachi or UTC+5",
    "ICT": "Asia/Bangkok or UTC+7",
    "WIB": "Asia/Jakarta or UTC+7",
    "SGT": "Asia/Singapore or UTC+8",
    "HKT": "Asia/Hong_Kong or UTC+8",
    "PHT": "Asia/Manila or UTC+8",
    "JST": "Asia/Tokyo or UTC+9",
    "KST": "Asia/Seoul or UTC+9",
    "AWST": "Australia/Perth or UTC+8",
    "ACST": "Australia/Adelaide or UTC+9:30",
    "ACDT": "Australia/Adelaide or UTC+10:30",
    "AEST": "Australia/Sydney or UTC+10",
    "AEDT": "Australia/Sydney or UTC+11",
    "NZST": "Pacific/Auckland or UTC+12",
    "NZDT": "Pacific/Auckland or UTC+13",
}

# Names that every zone library loads, and that mean something else on each machine.
HOST_NAMES: Final = frozenset({"posixrules", "localtime", "Factory", "local", "system"})

# Where the tz database links an old name to a merged zone of another country, the name of the same place.
_SAME_PLACE: Final[Mapping[str, str]] = {
    "Africa/Asmera": "Africa/Asmara",
    "Africa/Timbuktu": "Africa/Bamako",
    "America/Coral_Harbour": "America/Atikokan",
    "America/Virgin": "America/St_Thomas",
    "Antarctica/South_Pole": "Antarctica/McMurdo",
    "Atlantic/Jan_Mayen": "Arctic/Longyearbyen",
    "Iceland": "Atlantic/Reykjavik",
    "Pacific/Ponape": "Pacific/Pohnpei",
    "Pacific/Truk": "Pacific/Chuuk",
    "Pacific/Yap": "Pacific/Chuuk",
}


@dataclass(frozen=True, slots=True)
class ZoneNames:
    """The IANA names, from the `tzdata` package, so that every machine accepts the same ones.

    `current`: names in use: those that a country uses today (`zone.tab`), and zones that are no link.
    `old`: any other link → the name in use.
    """

    current: frozenset[str]
    old: Mapping[str, str]

    def is_region(self, name: str) -> bool:
        """Whether it is only the first part of names, such as Europe."""
        start = f"{name.rstrip('/')}/".lower()
        return any(known.lower().startswith(start) for known in self.current)

    def nearest(self, name: str) -> str | None:
        """Return the name in use that was most likely meant."""
        wanted = name.replace(" ", "_").rstrip("/").lower()
        known = {old.lower(): current for old, current in self.old.items()}
        known |= {current.lower(): current for current in self.current}
        if wanted in known:
            return known[wanted]
        for lower, current in sorted(known.items()):
            if lower.endswith(f"/{wanted}") or lower.startswith(f"{wanted}/"):
                return current
        from difflib import get_close_matches

        close = get_close_matches(wanted, known, n=1, cutoff=0.8)
        return known[close[0]] if close else None


def _current(name: str, target: str) -> str:
    """Return the name to write instead of an old one."""
    if target in {"Etc/UTC", "Etc/GMT"}:
        return "UTC"
    return _SAME_PLACE.get(name, target)


@cache
def zone_names() -> ZoneNames:
    """Read the names, once (about 2 ms)."""
    from importlib import resources

    folder = resources.files("tzdata") / "zoneinfo"
    rows = (folder / "tzdata.zi").read_text(encoding="utf-8").splitlines()
    places = (folder / "zone.tab").read_text(encoding="utf-8").splitlines()
    current = {row.split("\t")[2] for row in places if row and not row.startswith("#")}
    zones = {row.split()[1] for row in rows if row.startswith("Z ")}
    links = {row.split()[2]: row.split()[1] for row in rows if row.startswith("L ")}
    old = {
        name: _current(name, target)
        for name, target in links.items()
        if name not in current and name not in ABBREVIATIONS
    }
    return ZoneNames(frozenset(current | zones) - ABBREVIATIONS.keys() - HOST_NAMES, old)
