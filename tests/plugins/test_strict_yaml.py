"""YAML without its traps."""

from __future__ import annotations

import math
import time
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


@pytest.mark.parametrize("text", ["1: a\n0x1: b\n", "a: 1\n'a': 2\n", "true: 1\nTRUE: 2\n", "{x: 1, x: 1}"])
def test_equal_keys_are_duplicates_however_they_are_spelled(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="stands twice"):
        strict_load(text)


def test_what_a_merge_key_overrides_is_no_duplicate() -> None:
    # `top` is built before `inner`, whose merge key it has resolved by then
    text = "base: &b {x: 1}\ndeep: {inner: &m {<<: *b, x: 2}}\ntop: {<<: *m, y: 3}\n"
    assert strict_load(text) == {"base": {"x": 1}, "deep": {"inner": {"x": 2}}, "top": {"x": 2, "y": 3}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1e400", "does not fit 64 bits"),
        ("-1e400", "does not fit 64 bits"),
        ("1e-400", "does not fit 64 bits"),
        ("18446744073709551616", "does not fit 64 bits"),
        ("-9223372036854775809", "does not fit 64 bits"),
        ("9" * 10_000, "of 10,000 digits does not fit 64 bits"),
        ("0x" + "f" * 10_000, "does not fit 64 bits"),
        ("a: &a [*a]", r"\*a stands inside of what it repeats"),
        ("a: &a {<<: *a}", r"\*a stands inside of what it repeats"),
        ("[" * 100_000, "nested more than 50 deep"),
        ("{" * 100_000, "nested more than 50 deep"),
        ("- " * 5_000 + "x", "nested more than 50 deep"),
        ("? " * 5_000 + "x", "nested more than 50 deep"),
        ("a: [" + "x," * 30_000 + "]", "more than 20,000 values"),
        ("# " * 200_000, "262,144 are read"),
        ("a\0b", r"U\+0000"),
        ("a: \ud800", r"U\+D800"),
        ("!!int x", "tag"),
        ("!!bool x", "tag"),
        ("!!timestamp x", "tag"),
        ("!!binary x", "tag"),
    ],
)
def test_what_costs_or_means_nothing_is_refused_at_once(text: str, problem: str) -> None:
    start = time.process_time()
    with pytest.raises(yaml.YAMLError, match=problem):
        strict_load(text)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("merged", [True, False])
def test_an_alias_bomb_is_refused_before_it_is_built(inline: bool, merged: bool) -> None:
    """A kilobyte, written out ten billion values."""
    text = "{k0: x}" if merged else "x"
    lines = []
    for level in range(10):
        repeated = ", ".join(
            [text if level == 0 or inline else f"*a{level - 1}"] + [f"*a{level - 1}"] * 9 * (level > 0)
        )
        text = f"&a{level} {{<<: [{repeated}]}}" if merged else f"&a{level} [{repeated}]"
        lines.append(f"a{level}: {text}")
    bomb = f"names: {text}" if inline else "\n".join(lines)
    start = time.process_time()
    with pytest.raises(yaml.YAMLError, match="more than 20,000 values, aliases written out"):
        strict_load(bomb)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "text", ["18446744073709551615", "-9223372036854775808", "1.7e308", "5e-324", "0e99", "-0.0"]
)
def test_numbers_of_64_bits_are_read(text: str) -> None:
    assert strict_load(text) == float(text) or strict_load(text) == int(text)


def test_tags_build_nothing() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        strict_load("!!python/object/apply:os.system ['echo executed']")


def test_the_usual_loader_is_left_alone() -> None:
    assert yaml.safe_load("no") is False


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
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
