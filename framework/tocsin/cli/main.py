"""The entry point of the command `tocsin`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from tocsin import __version__
from tocsin.cli.verbs import CORE_VERBS, plugin_verbs
from tocsin.errors import Interrupted, TocsinError, did_you_mean
from tocsin.escaping import print_lines, terminal_lines
from tocsin.plugins.discovery import COMMANDS
from tocsin.plugins.functions import load_function, switched_off
from tocsin.training.runs import is_first_rank
from tocsin.training.signals import watching

__all__ = ["main"]

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    A `TocsinError` is the user's to mend: its message goes to stderr without a traceback
    (`TOCSIN_TRACEBACK=1` shows it).

    Args:
        argv: The arguments after the command's name; None for the process's own.

    Returns:
        The exit code: 0 done, 2 the user's mistake, 130, 143, 129 and 138 ended by SIGINT, SIGTERM, SIGHUP and SIGUSR1,
        141 the reader of our output went away.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # names that the terminal's encoding lacks are shown, not raised
        sys.stdout.reconfigure(errors="backslashreplace")
    shown = warnings.showwarning
    warnings.showwarning = _plainly(shown)
    try:
        with watching(whole_process=argv is None):
            code = _run(arguments)
            sys.stdout.flush()
            return code
    except TocsinError as error:
        if os.environ.get("TOCSIN_TRACEBACK") == "1":
            raise
        print_lines(f"tocsin: {error}", stderr=True)
        return USER_ERROR
    except ImportError as error:
        from tocsin.plugins.packages import missing_package

        missing = missing_package(error)
        if not missing or os.environ.get("TOCSIN_TRACEBACK") == "1":
            raise
        print_lines(f"tocsin: {missing}", stderr=True)
        return USER_ERROR
    except Interrupted as stop:
        if is_first_rank():
            print_lines(f"tocsin: {stop}", stderr=True)
        return stop.exit_code
    except KeyboardInterrupt:
        print("tocsin: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit as stop:
        return _exit_code(stop)
    finally:
        warnings.showwarning = shown


def _plainly(shown: Callable[..., None]) -> Callable[..., None]:
    """Print our own warnings to users as one line; others keep the line of code that raised them."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if category.__module__.startswith("tocsin"):
            print_lines(f"warning: {message}", stderr=True)
        else:
            plain = terminal_lines(message)
            shown(message if plain == str(message) else plain, category, *rest, **named)

    return show


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print_lines(_help())
        return 0 if arguments else USER_ERROR
    if arguments[0] in ("-V", "--version"):
        print(f"tocsin {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb.startswith("-"):
        print_lines(
            f"tocsin: unknown option {verb!r}; a verb comes first. `tocsin --help` lists them.", stderr=True
        )
        return USER_ERROR
    function = _function(verb)
    if function is None:
        known = [*CORE_VERBS, *plugin_verbs()]
        hint = switched_off(COMMANDS, verb) or did_you_mean(verb, known)
        print_lines(f"tocsin: there is no verb {verb!r}.{hint} Verbs: {', '.join(known)}.", stderr=True)
        return USER_ERROR
    return int(function(rest) or 0)


def _function(verb: str) -> Callable[[list[str]], int] | None:
    """Import and return a verb's function; None when there is no such verb."""
    if verb in CORE_VERBS:
        module, name = CORE_VERBS[verb].function.split(":")
        function: Callable[[list[str]], int] = getattr(import_module(module), name)
        return function
    entry = plugin_verbs().get(verb)
    if entry is None:
        return None
    return load_function(entry)


def _help() -> str:
    lines = [
        "Tocsin: train, distil, calibrate and ship multilingual early-warning classifiers from one YAML file.",
        "",
        "usage: tocsin VERB [options]      (tocsin VERB --help lists a verb's options)",
        "",
    ]
    added = plugin_verbs()
    width = max(map(len, [*CORE_VERBS, *added]))
    lines += [f"  {name:<{width}}  {verb.help}" for name, verb in CORE_VERBS.items()]
    if added:
        lines += ["", "verbs of plugins:"]
        lines += [
            f"  {name:<{width}}  {entry.summary} [{entry.distribution}]" for name, entry in added.items()
        ]
    lines += ["", "  --version  print the version"]
    return "\n".join(lines)


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print_lines(stop.code, stderr=True)
    return 1
