"""TemplateSplitter: the contract of splitters, and what it holds out."""

import pyarrow as pa
import pytest

from tocsin.plugins import ConfigError
from tocsin.plugins.testing import check_splitter
from tocsin_template.splitter import TemplateSplitter

EVENTS = pa.table(
    {
        "event": ["flood", "fire", "storm", "flood"],
        "text": ["water rises", "smoke", "roofs fly", "smoke"],
    }
)


def test_it_conforms() -> None:
    check_splitter(TemplateSplitter, EVENTS, validation=["fire"], test=["flood"])


def test_whole_events_are_held_out() -> None:
    split = TemplateSplitter(validation=["fire"], test=["flood"]).split(EVENTS)
    assert split.names.tolist() == ["test", "validation", "train", "test"]
    assert len(split.crossing) == 1, "a text stands in validation and in test"


def test_an_event_cannot_be_in_two_splits() -> None:
    with pytest.raises(ConfigError, match="flood stands in validation and in test"):
        TemplateSplitter(validation=["flood"], test=["flood"])
