"""YAML without its traps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tocsin.plugins.strict_yaml import strict_dump, strict_load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("007", 7),
        ("0x1f", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1_000", "1_000"),
        ("12:34", "12:34"),
        ("2026-11-21", "2026-11-21"),
        ("1e-5", 1e-5),
        ("5.0e-5", 5e-5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("[a, no]", ["a", "no"]),
        ("{a,b}", "{a,b}"),
        ("---", "---"),
        ("#flood", "#flood"),
        ("&b", "&b"),
        (" null ", None),
        ("a:", "a:"),
        ("{a: 1}", {"a": 1}),
        ("a:\nb:\n", {"a": None, "b": None}),
        ("base: &b {x: 1}\nmore:\n  <<: *b\n  y: 2\n", {"base": {"x": 1}, "more": {"x": 1, "y": 2}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    loaded = strict_load(text)
    assert loaded == value
    assert type(loaded) is type(value)


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    with pytest.raises(yaml.YAMLError, match="'lr' stands twice, first in line 2") as caught:
        strict_load("optimizer:\n  lr: 1\n  beta: 2\n  lr: 3\n")
    assert caught.value.problem_mark.line + 1 == 4


def test_tags_build_nothing() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        strict_load("!!python/object/apply:os.system ['echo executed']")


def test_the_usual_loader_is_left_alone() -> None:
    assert yaml.safe_load("no") is False


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abn01oe.x-", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.text("abcno", min_size=1), plain, min_size=1))
def test_what_is_dumped_is_read_back_equal(data: dict[str, Any]) -> None:
    text = strict_dump(data)
    if "\n" in text.strip():  # a lone "a:" is text on a command line
        assert strict_load(text) == data


@pytest.mark.parametrize(
    "text", ["no", "007", "1e3", "0o17", "12:34", "true", "null", "~", "", "1.", ".5", "<<", "="]
)
def test_label_names_survive_a_dump(text: str) -> None:
    assert strict_load(strict_dump({"names": [text, "x"]})) == {"names": [text, "x"]}
