"""Which known name a mistaken one is likely to mean."""

import pytest

from tocsin.errors import did_you_mean

KNOWN = ["MeanEnsemble", "MedianEnsemble", "MiniLmEnglish", "Stacking", "id", "loss", "lossless"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Mean", "MeanEnsemble"),
        ("Minilm", "MiniLmEnglish"),
        ("MINILMENGLISH", "MiniLmEnglish"),
        ("los", "loss"),
        ("ID", "id"),
        ("Staking", "Stacking"),
        ("MeanEnsembel", "MeanEnsemble"),
    ],
)
def test_the_closest_name_is_suggested(given: str, meant: str) -> None:
    assert did_you_mean(given, KNOWN) == f" Did you mean {meant!r}?"


@pytest.mark.parametrize("given", ["", "Me", "quite another"])
def test_nothing_is_suggested_where_nothing_is_close(given: str) -> None:
    assert did_you_mean(given, KNOWN) == ""
