"""TemplatePairReader: the contract of pair readers, and what it makes of a file."""

from pathlib import Path

import pytest

from tocsin.plugins import DataError
from tocsin.plugins.testing import check_pair_reader
from tocsin_template.pair_reader import TemplatePairReader

PAIRS = "The bridge is closed\tLe pont est fermé\nSend water\tEnvoyez de l'eau\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.tsv"
    file.write_text(PAIRS, encoding="utf-8")
    return file


def test_it_conforms(path: Path) -> None:
    check_pair_reader(TemplatePairReader, files=[str(path)], lang="fr")


def test_a_line_is_a_pair(path: Path) -> None:
    (batch,) = TemplatePairReader([str(path)], lang="fr", source="ours").batches()
    assert batch.to_pylist()[1] == {
        "english": "Send water",
        "text": "Envoyez de l'eau",
        "lang": "fr",
        "source": "ours",
    }


def test_a_line_without_a_tab_is_named_and_the_rest_is_read(path: Path) -> None:
    path.write_text("no translation\n" + PAIRS, encoding="utf-8")
    faults: list[DataError] = []
    reader = TemplatePairReader([str(path)], lang="fr")
    (batch,) = reader.batches(faults.append)
    assert batch.num_rows == 2
    assert "pairs.tsv, row 1: 1 fields; wanted two" in str(faults[0])
