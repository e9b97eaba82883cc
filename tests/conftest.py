"""The fixtures of `duly.testing` for Duly's own tests, also where Duly is not installed and has no entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duly.testing import plugin

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin("duly"):
        config.pluginmanager.register(plugin, "duly")
