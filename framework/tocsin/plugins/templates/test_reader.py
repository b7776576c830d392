"""TemplateReader: the contract of readers, and what it makes of a file."""

from pathlib import Path

import pytest

from tocsin.plugins import DataError
from tocsin.plugins.testing import check_reader
from tocsin_template.reader import TemplateReader

RECORDS = """\
id: m1
text: The bridge is closed: take the ferry
water: 0

id: m2
text: Water in the school
water: 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "messages.records"
    file.write_text(RECORDS, encoding="utf-8")
    return file


def test_it_conforms(path: Path) -> None:
    check_reader(TemplateReader, path)


def test_a_record_is_a_row(path: Path) -> None:
    (batch,) = TemplateReader().batches(path, ["text", "water"])
    texts = ["The bridge is closed: take the ferry", "Water in the school"]
    assert batch.to_pydict() == {"text": texts, "water": ["0", "1"]}


def test_a_bad_record_is_named_and_the_rest_is_read(path: Path) -> None:
    path.write_text(RECORDS.replace("id: m2", "id m2"), encoding="utf-8")
    faults: list[DataError] = []
    (batch,) = TemplateReader().batches(path, ["text"], faults.append)
    assert batch.num_rows == 2
    assert "row 2: 'id m2' has no colon" in str(faults[0])
