"""TemplateCleaner: the contract of cleaners, and what it does to a text."""

from tocsin.plugins.testing import check_cleaner
from tocsin_template.cleaner import TemplateCleaner


def test_it_conforms() -> None:
    check_cleaner(TemplateCleaner)
    check_cleaner(TemplateCleaner, lower=True)


def test_runs_of_white_space_become_one_blank() -> None:
    assert TemplateCleaner().clean("  Water\n\tis  rising ") == "Water is rising"
    assert TemplateCleaner(lower=True).clean("Water IS rising") == "water is rising"
