"""The command itself: fast help, exit codes, no tracebacks."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.plugins.distributions import Install
from tocsin import __version__
from tocsin.bundles.predictions import BundleWarning
from tocsin.cli import main as module
from tocsin.cli.main import main
from tocsin.cli.verbs import CORE_VERBS, Verb
from tocsin.errors import DataError
from tocsin.plugins.discovery import COMMANDS

RUN = "import sys; from tocsin.cli.main import main; code = main(sys.argv[1:]); "


def test_help_and_the_list_of_plugins_import_nothing_heavy() -> None:
    heavy = "print(sorted({'torch', 'lightning', 'numpy', 'pyarrow', 'jsonargparse'} & set(sys.modules)))"
    for verb in ("--help", "plugins"):
        result = subprocess.run(
            [sys.executable, "-c", RUN + heavy, verb], capture_output=True, text=True, check=True
        )
        assert result.stdout.endswith("[]\n")


def test_help_lists_every_verb_and_those_of_plugins(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(
        "boiler", summary="Boils messages", entry_points={COMMANDS: {"boil": "never_imported_boiler:main"}}
    )
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb} " in out for verb in CORE_VERBS)
    assert "boil" in out
    assert "Boils messages [boiler]" in out
    assert "never_imported_boiler" not in sys.modules


def test_version_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tocsin {__version__}\n"
    assert main([]) == 2


def test_an_unknown_verb_is_answered_with_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    error = capsys.readouterr().err
    assert "no verb 'evalute'. Did you mean 'evaluate'?" in error
    assert main(["--colour"]) == 2


def test_every_verb_can_be_imported_and_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in CORE_VERBS:
        assert main([verb, "--help"]) == 0, verb
        shown = capsys.readouterr().out
        assert f"tocsin {verb}" in shown
        assert "%%" not in shown, verb  # argparse formats an option's help, and takes a description as it is


def test_a_plugins_verb_runs_and_cannot_take_over_ours(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(
        "boiler",
        entry_points={COMMANDS: {"boil": "boiler_verb:main", "fit": "boiler_verb:main"}},
        modules={"boiler_verb": "def main(argv):\n    print('boiling', *argv)\n    return 3\n"},
    )
    assert main(["boil", "two", "eggs"]) == 3
    assert capsys.readouterr().out == "boiling two eggs\n"
    assert "tocsin.cli.fit" in CORE_VERBS["fit"].function


def test_a_plugins_broken_verb_is_named(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("boiler", entry_points={COMMANDS: {"boil": "a_module_nobody_has:main"}})
    assert main(["boil"]) == 2
    assert "The verb 'boil' of boiler 1.0 cannot be loaded: ModuleNotFoundError" in capsys.readouterr().err


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    def set_verb(function) -> None:
        monkeypatch.setitem(CORE_VERBS, "try", Verb("tests:none", "for this test"))
        monkeypatch.setattr(module, "_function", lambda name: function)

    return set_verb


def test_our_errors_are_a_message_and_code_2(verb, capsys, monkeypatch) -> None:
    def fail(argv: list[str]) -> int:
        raise DataError("the label is 7", file="m.csv", row=3)

    verb(fail)
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "tocsin: m.csv, row 3: the label is 7\n"
    monkeypatch.setenv("TOCSIN_TRACEBACK", "1")
    with pytest.raises(DataError):
        main(["try"])


def test_control_characters_reach_no_terminal(verb, capsys) -> None:
    def fail(argv: list[str]) -> int:
        warnings.warn("ours \x1b[31m", BundleWarning, stacklevel=1)
        warnings.warn("another's \u202e", UserWarning, stacklevel=1)
        raise DataError("the id is \x1b]0;title\x07\nand more", file="m\x9b.csv", row=3)

    verb(fail)
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        assert main(["try"]) == 2
    said = capsys.readouterr().err
    assert "warning: ours \\x1b[31m\n" in said
    assert [str(one.message) for one in others] == ["another's \\u202e"]
    assert "tocsin: m\\x9b.csv, row 3: the id is \\x1b]0;title\\x07\nand more\n" in said
    assert not set(said) & set("\x1b\x07\x9b\u202e")


def test_names_that_the_terminal_cannot_write_are_shown(tmp_path: Path, monkeypatch) -> None:
    page = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(page, "ascii", write_through=True))
    folder = tmp_path / "Überschwemmung"
    folder.mkdir()
    assert main(["runs", str(folder)]) == 0
    assert page.getvalue().endswith(b"\\xdcberschwemmung.\n")


@pytest.mark.parametrize(
    ("stop", "code"),
    [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit(), 0), (SystemExit("why"), 1)],
)
def test_exit_codes(verb, stop: BaseException, code: int) -> None:
    def end(argv: list[str]) -> int:
        raise stop

    verb(end)
    assert main(["try"]) == code


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    program = [sys.executable, "-c", RUN + "sys.exit(code)", "--help"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141
