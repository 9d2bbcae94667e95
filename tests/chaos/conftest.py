"""The long run belongs to `make chaos` alone."""

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long run out unless CHAOS_SECONDS says how long it is."""
    long = [item for item in items if item.name == "test_nothing_is_lost_for_as_long_as_there_is_time"]
    if "CHAOS_SECONDS" not in os.environ:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
