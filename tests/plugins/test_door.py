"""`tocsin.plugins` is the one module that a plugin imports; it is lazy, and each name leads somewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tocsin.plugins as door


@pytest.mark.parametrize("name", door.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(door, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Haed"):
        _ = door.Haed
    assert "Head" in dir(door)


def test_importing_the_package_and_the_door_costs_nothing() -> None:
    program = (
        "import sys, tocsin, tocsin.plugins\n"
        "assert tocsin.__version__\n"
        "print(sorted({'torch', 'lightning', 'numpy', 'pyarrow', 'transformers', 'jsonargparse'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
