"""A checkpoint, a bundle and an encoder's folder execute nothing. Beside each attack stands its success unguarded."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tocsin
from tests.builders import note_checksums
from tests.cli.configs import CONFIG
from tests.security.canary import Canary
from tocsin.bundles import load as load_module
from tocsin.bundles import manifest as manifest_module
from tocsin.cli.main import main
from tocsin.errors import BundleError, ConfigError
from tocsin.models import checkpointing
from tocsin.models.encoders import TransformerEncoder
from tocsin.training import checkpoint_files


@pytest.fixture
def work(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the working folder that a test may spoil."""
    folder = shutil.copytree(fitted, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb; it must end with code 2 and one message, which is returned."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("tocsin: ") == 1
        return said[said.index("tocsin: ") :]

    return run


class Bomb:
    """Writes the canary's file when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


# checkpoints

# A crafted one has no digest, as another program's.
pytestmark = pytest.mark.filterwarnings("ignore::tocsin.training.checkpoint_files.CheckpointWarning")
VERBS = {
    "fit": ["fit", "--config", "experiments/tiny/config.yaml", "--trainer.max_epochs", "2"],
    "test": ["test", "--config", "runs/tiny/latest-fit/config.yaml"],
    "validate": ["validate", "--config", "runs/tiny/latest-fit/config.yaml"],
}
NAMED = {"_class_path": "evil_stuff.Thing", "_instantiator": "evil_stuff.function", "command": "x"}


def crafted(folder: Path, *, plain: bool = False, **added: Any) -> str:
    """The fit's own checkpoint with something added; plain data is given a digest, as by one who knows how."""
    (best,) = [
        path for path in folder.glob("runs/tiny/*-fit/checkpoints/best.ckpt") if "latest" not in str(path)
    ]
    content = torch.load(best, weights_only=True)
    if plain:
        checkpoint_files.AtomicCheckpointIO().save_checkpoint(content | added, folder / "crafted.ckpt")
    else:
        torch.save(content | added, folder / "crafted.ckpt")
    return str(folder / "crafted.ckpt")


@pytest.mark.parametrize("verb", VERBS)
def test_a_pickled_object_in_a_checkpoint_is_not_built(work, canary: Canary, refusal, verb: str) -> None:
    for key in ("hyper_parameters", "state", "callbacks"):
        path = crafted(work, **{key: {"x": Bomb(canary.command)}})
        assert "reading it would run code, which is refused" in refusal(*VERBS[verb], "--ckpt_path", path)
    assert not canary.ran


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_read_as_any_pickle_it_is_built(work, canary: Canary, monkeypatch, verb: str) -> None:
    load = torch.load
    monkeypatch.setattr(checkpoint_files, "check_content", lambda path: None)
    monkeypatch.setattr(
        checkpoint_files.torch,
        "load",
        lambda *given, **named: load(*given, **named | {"weights_only": False}),
    )
    main([*VERBS[verb], "--ckpt_path", crafted(work, state={"x": Bomb(canary.command)})])
    assert canary.ran


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("key", ["hyper_parameters", "datamodule_hyper_parameters"])
def test_hyperparameters_that_name_code_are_refused(work, canary: Canary, refusal, verb, key) -> None:
    path = crafted(work, plain=True, **{key: NAMED})
    assert f"{key} names code" in refusal(*VERBS[verb], "--ckpt_path", path)
    assert not canary.ran


def test_without_that_check_they_are_taken_and_ignored(work, canary: Canary, monkeypatch) -> None:
    monkeypatch.setattr(checkpointing, "_CODE", ())
    assert main([*VERBS["test"], "--ckpt_path", crafted(work, plain=True, hyper_parameters=NAMED)]) == 0
    assert not canary.ran


# bundles


@pytest.fixture
def bundle(work: Path) -> Path:
    (found,) = [
        path.parent for path in work.glob("runs/tiny/*-fit/bundle/tocsin.json") if "latest" not in str(path)
    ]
    return found


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; one that is missing is taken as an empty mapping. A bundle's checksums are written anew."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(change(content)), encoding="utf-8")
    for folder in (path.parent, path.parent.parent):
        if (folder / "tocsin.json").is_file():
            note_checksums(folder)


PREDICT = ["predict", "--text", "water", "--bundle"]


def manifest_with(bundle: Path, role: str, name: str, **arguments: Any) -> None:
    def change(content: dict[str, Any]) -> dict[str, Any]:
        content[role] = (content[role] or {}) | {"name": name, "arguments": arguments}
        return content

    rewrite(bundle / "tocsin.json", change)


@pytest.mark.parametrize("role", ["head", "pooling", "cleaner"])
@pytest.mark.parametrize("name", ["os.system", "evil_stuff.Thing", "evil_stuff", "system", "Thing"])
def test_a_bundle_names_no_class_but_components(bundle, canary: Canary, refusal, role, name) -> None:
    manifest_with(bundle, role, name, command=canary.command)
    assert name in refusal(*PREDICT, str(bundle))
    with pytest.raises(BundleError):
        tocsin.load(bundle)
    assert not canary.ran


class Imports:
    """A registry that takes a name for a path to import."""

    def find(self, role: str, name: str) -> Any:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise ConfigError(f"{name!r} is no path")
        return getattr(importlib.import_module(module), attribute)


def test_with_a_registry_that_imports_a_dotted_name_is_still_refused(bundle, canary: Canary) -> None:
    manifest_with(bundle, "cleaner", "evil_stuff.Thing")
    with pytest.raises(BundleError, match="no component's short name"):
        load_module.load_bundle(bundle, Imports())
    assert not canary.ran


def test_without_the_check_of_names_it_would_run(bundle, canary: Canary, monkeypatch) -> None:
    manifest_with(bundle, "head", "evil_stuff.Thing")

    def unchecked(plain: dict[str, Any]) -> Any:
        named = {
            role: manifest_module.ComponentName(plain[role]["name"], plain[role]["arguments"])
            for role in ("head", "cleaner")
        }
        plain = {key: value for key, value in plain.items() if key not in ("files", "digest")}
        return manifest_module.Manifest(**plain | named | {"pooling": None, "canaries": []})

    monkeypatch.setattr(manifest_module, "_manifest", unchecked)
    with pytest.raises(
        BundleError, match=r"No head is called 'evil_stuff\.Thing'"
    ):  # the registry's own guard
        tocsin.load(bundle)
    assert not canary.ran
    with pytest.raises(BundleError, match="is no path"):  # the cleaner's name; the head's has run by then
        load_module.load_bundle(bundle, Imports())
    assert canary.ran


@pytest.mark.parametrize(
    ("role", "name"), [("head", "TweetCleaner"), ("cleaner", "LinearHead"), ("pooling", "AdamW")]
)
def test_a_component_stands_only_in_its_own_role(bundle, refusal, role: str, name: str) -> None:
    manifest_with(bundle, role, name)
    assert f"The bundle needs the {role} {name}" in refusal(*PREDICT, str(bundle))


def test_a_registry_that_ignores_roles_would_build_it(bundle, monkeypatch) -> None:
    from tocsin.plugins.registry import Registry

    manifest_with(bundle, "cleaner", "MeanPooling")
    known = Registry.components
    monkeypatch.setattr(
        Registry,
        "components",
        lambda self, role: {k: v for r in ("cleaner", "head", "pooling") for k, v in known(self, r).items()},
    )
    with pytest.raises(AttributeError, match="clean"):  # taken, and only its use fails
        tocsin.load(bundle)


def test_arguments_in_a_bundle_are_data(bundle, canary: Canary, refusal) -> None:
    call = {"class_path": "evil_stuff.Thing", "init_args": {}}
    manifest_with(bundle, "head", "LinearHead", dropout=call)
    refusal(*PREDICT, str(bundle))
    manifest_with(bundle, "head", "LinearHead", dropout=0.1, _class_path="evil_stuff.Thing")
    refusal(*PREDICT, str(bundle))
    assert not canary.ran


def test_a_bundles_folder_is_its_own(bundle, refusal) -> None:
    for place in ("../../elsewhere", "/tmp", "evil_stuff"):
        rewrite(bundle / "tocsin.json", lambda content, place=place: content | {"encoder": place})
        assert repr(place) in refusal(*PREDICT, str(bundle))


CLASSES = {
    "AutoConfig": "evil_code.Thing",
    "AutoModel": "evil_code.Thing",
    "AutoTokenizer": ["evil_code.Thing", None],
}


def inner(bundle: Path) -> Path:
    """The folder of a bundle that transformers reads."""
    return bundle / json.loads((bundle / "tocsin.json").read_text())["encoder"]


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_lies_in_a_bundle_is_refused(bundle, canary: Canary, refusal, file: str) -> None:
    canary.write("evil_code", inner(bundle))
    rewrite(inner(bundle) / file, lambda content: content | {"auto_map": CLASSES, "tokenizer_class": "Thing"})
    assert "names code of its own (auto_map)" in refusal(*PREDICT, str(bundle))
    assert not canary.ran


def test_a_bundles_tokenizer_names_no_class(bundle, canary: Canary) -> None:
    """Without auto_map the name is looked up among transformers' own classes, and the fast tokenizer is taken."""
    canary.write("evil_code", inner(bundle))
    for name in ("evil_code.Thing", "evil_stuff.Thing", "Thing"):
        rewrite(
            inner(bundle) / "tokenizer_config.json",
            lambda content, name=name: content | {"tokenizer_class": name},
        )
        main([*PREDICT, str(bundle)])
    assert not canary.ran


def test_types_in_modules_json_are_not_imported(bundle, canary: Canary) -> None:
    types = [{"idx": 0, "name": "0", "path": "", "type": "evil_stuff.Thing"}]
    (bundle / "modules.json").write_text(json.dumps(types))
    note_checksums(bundle)
    assert main([*PREDICT, str(bundle)]) == 0
    assert not canary.ran
    importlib.import_module(types[0]["type"].rsplit(".", 1)[0])  # what a reader of that file does
    assert canary.ran


# an encoder's folder, named in a configuration


@pytest.fixture
def foreign(work: Path, canary: Canary) -> Path:
    """The configuration's encoder, with code in its folder."""
    canary.write("evil_code", work / "encoder")
    return work / "encoder"


def spoil_config(folder: Path) -> None:
    """Let a folder's configuration name the code beside it, for an architecture that transformers does not know."""
    named = {"auto_map": CLASSES, "model_type": "evil", "architectures": ["Thing"]}
    rewrite(folder / "config.json", lambda content: content | named)


def fit(work: Path) -> list[str]:
    """A fit that reads the encoder anew, into folders of its own."""
    (work / "c.yaml").write_text(CONFIG.replace("cache: cache", "cache: other"))
    return ["fit", "--config", "c.yaml"]


def test_an_encoders_own_code_is_not_run(work, foreign: Path, canary: Canary, refusal) -> None:
    spoil_config(foreign)
    assert "encoder/config.json names code of its own (auto_map)" in refusal(*fit(work))
    assert not canary.ran


def test_with_trust_it_is(work, foreign: Path, canary: Canary, monkeypatch) -> None:
    def trusting(self: Any, loader: Any, **options: Any) -> Any:
        return loader.from_pretrained(self.folder(), trust_remote_code=True, **options)

    monkeypatch.setattr(TransformerEncoder, "_from_pretrained", trusting)
    monkeypatch.setenv("HF_MODULES_CACHE", str(work / "modules"))
    spoil_config(foreign)
    with contextlib.suppress(Exception):  # it is no encoder, but it has run
        main(fit(work))
    assert canary.ran


def test_pickled_weights_build_nothing(work, canary: Canary, refusal) -> None:
    folder = work / "encoder"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb(canary.command)}, folder / "pytorch_model.bin")
    refusal(*fit(work))
    assert not canary.ran


def test_read_as_any_pickle_the_weights_do(work, canary: Canary, monkeypatch) -> None:
    folder = work / "encoder"
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb(canary.command)}, folder / "pytorch_model.bin")
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda *given, **named: load(*given, **named | {"weights_only": False})
    )
    with contextlib.suppress(Exception):  # it is no encoder, but it has run
        main(fit(work))
    assert canary.ran
