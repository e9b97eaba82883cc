#!/usr/bin/env python3
"""Says how many branches of each inner room the tests took, and refuses a room below the gate.

Usage: tools/branches.py coverage.json (as written by `coverage json` or `pytest --cov-report=json`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

GATE_PERCENT = 95.0
ROOMS = ("model", "rules", "stores", "engine")


def taken(files: dict[str, dict[str, dict[str, int]]], room: str) -> tuple[int, int]:
    """Return (branches taken, branches) of the files below `room`."""
    summaries = [entry["summary"] for path, entry in files.items() if f"duly/{room}/" in path]
    return sum(s["covered_branches"] for s in summaries), sum(s["num_branches"] for s in summaries)


def main(report: Path) -> int:
    """Print a line for each room and return the exit code."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    below = False
    for room in ROOMS:
        covered, total = taken(files, room)
        # A room without branches was not measured: the gate must not open for it.
        percent = 100.0 * covered / total if total else 0.0
        verdict = "ok" if percent >= GATE_PERCENT else f"below {GATE_PERCENT:g} %"
        below = below or percent < GATE_PERCENT
        print(f"branches {room:<7} {percent:5.1f} %  {covered} of {total}  {verdict}")
    return int(below)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
