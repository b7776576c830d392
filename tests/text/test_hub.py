"""Data sets of the hub: their names, the cache, and no network where nobody asked or everybody forbids it."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.errors import ConfigError
from tocsin.text.hub import HubSource, hub_file
from tocsin.text.readers import reader_for, resolve_data_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf://red-cross/floods@{COMMIT}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path))
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the hub, which here holds two splits of one data set."""
    datasets = pytest.importorskip("datasets")
    import huggingface_hub

    found = {
        "train": datasets.Dataset(pa.table({"text": ["water", "fire"], "flood": [1, 0]})),
        "test": datasets.Dataset(pa.table({"text": ["storm"], "flood": [0]})),
    }
    calls: list[Any] = []

    def load_dataset(repository: str, subset: Any, *, split: Any, revision: str) -> Any:
        calls.append((repository, subset, split, revision))
        return found[split] if split else datasets.DatasetDict(found)

    class Hub:
        def dataset_info(self, repository: str, revision: str) -> Any:
            calls.append((repository, revision))
            return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return calls


def test_fetched_once_with_its_splits_as_a_column(asked: list[Any], cache: Path) -> None:
    path = resolve_data_path(NAME)
    assert path.is_relative_to(cache)
    assert pq.read_table(path).to_pylist() == [
        {"text": "water", "flood": 1, "split": "train"},
        {"text": "fire", "flood": 0, "split": "train"},
        {"text": "storm", "flood": 0, "split": "test"},
    ]
    assert reader_for(path).columns(path) == ["text", "flood", "split"]
    assert hub_file(NAME) == path
    assert asked == [("red-cross/floods", None, None, COMMIT)]


def test_one_split_of_a_subset(asked: list[Any]) -> None:
    path = hub_file(f"{NAME}?subset=english&split=test")
    assert pq.read_table(path).to_pylist() == [{"text": "storm", "flood": 0}]
    assert asked == [("red-cross/floods", "english", "test", COMMIT)]
    assert hub_file(NAME) != path


def test_a_branch_is_looked_up_and_kept_by_its_commit(asked: list[Any]) -> None:
    path = hub_file("hf://red-cross/floods@main")
    assert asked == [("red-cross/floods", "main"), ("red-cross/floods", None, None, COMMIT)]
    assert hub_file(NAME) == path
    assert hub_file("hf://red-cross/floods@main") == path
    assert asked[2:] == [("red-cross/floods", "main")], "a branch moves: looked up, not fetched"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_fetched(variable: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(NAME)
    monkeypatch.setenv(variable, "1")
    del asked[:]
    assert hub_file(NAME) == path, "the cache needs no network"
    with pytest.raises(ConfigError, match=f"is not in the cache, and {variable}=1 forbids fetching it"):
        hub_file(f"{NAME}?split=test")
    with pytest.raises(ConfigError, match="'main' cannot be looked up offline; name the commit"):
        hub_file("hf://red-cross/floods@main")
    assert asked == []


def test_a_hub_out_of_reach_is_a_sentence_and_leaves_nothing(
    asked: list[Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConfigError, match=r"could not be fetched \(ConnectionError: no route to host\)"):
        hub_file(NAME)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_splits_of_different_columns(asked: list[Any], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    both = {
        "a": datasets.Dataset(pa.table({"text": ["x"]})),
        "b": datasets.Dataset(pa.table({"words": ["y"]})),
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(both))
    with pytest.raises(ConfigError, match=r"name one split: \?split=NAME"):
        hub_file(NAME)
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf://floods@main", "names no data set of the hub"),
        ("hf://a/b/c@main", "names no data set of the hub"),
        ("hf://red-cross/floods", "has no revision"),
        (f"{NAME}?spilt=test", "Did you mean 'split'"),
        (f"{NAME}?split=../x", "split is '../x'"),
    ],
)
def test_names_of_another_form(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        hub_file(name)


def test_names() -> None:
    assert HubSource.parse("hf://a/b@refs/convert/parquet?split=x") == HubSource(
        "a/b", "refs/convert/parquet", None, "x"
    )


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return importing(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'tocsin\[hub\]'"):
        hub_file(NAME)
