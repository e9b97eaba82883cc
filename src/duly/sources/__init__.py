"""Files and calendars in: records, YAML, JSON, TOML and CSV."""

from __future__ import annotations
