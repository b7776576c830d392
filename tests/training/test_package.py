from __future__ import annotations

import pytest

import tocsin.training


def test_every_public_name_is_there() -> None:
    for name in tocsin.training.__all__:
        assert getattr(tocsin.training, name).__name__ == name
    assert set(tocsin.training._MODULES) == set(tocsin.training.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        tocsin.training.Trainr  # noqa: B018
