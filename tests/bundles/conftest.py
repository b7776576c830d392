"""Exemptions that every fit needs."""

import pytest

_SILENCED = [
    # torch 2.13 deprecates what Lightning 2.6 calls: https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning",
    "ignore:.*does not have many workers",
    "ignore:.*Found .* module.* in eval mode",
    "ignore:.*is smaller than the logging interval",
    "ignore:.*stand in more than one split",
    "ignore:.*training messages left out",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the exemptions on the tests of this folder."""
    for item in items:
        for rule in _SILENCED:
            item.add_marker(pytest.mark.filterwarnings(rule))
