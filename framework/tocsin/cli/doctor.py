"""`tocsin doctor`: what is damaged, missing or full, and what to do about it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tocsin.cli.findings import PROBLEM, Finding
from tocsin.cli.options import OptionParser
from tocsin.escaping import json_escaped, print_lines, terminal_text

__all__ = ["main"]

_COLUMNS = 80
_INDENT = 9


def main(argv: Sequence[str]) -> int:
    """Check the installation, or a path. Returns 0 where all is sound, 1 where there is a problem.

    Raises:
        ConfigError: The path names nothing that can be checked; SystemExit(2) for a wrong command line.
    """
    parser = OptionParser(
        prog="tocsin doctor",
        description="Check this installation: packages, devices, precision, disks, plugins, the cache. Or a run, a "
        "folder of runs, a bundle, a checkpoint, a scores table or a configuration: hashes, format versions, canary "
        "texts, locks, plugins. Nothing is changed. The exit code is 0 where all is sound, 1 where there is a problem.",
    )
    parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help="RUN, BUNDLE, FOLDER or FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(argv))
    findings = _findings(options.path)
    if options.json:
        found = list(findings)
        sound = all(finding.state != PROBLEM for finding in found)
        shown = {"sound": sound, "findings": [asdict(finding) for finding in found]}
        print(json_escaped(json.dumps(shown, indent=2, ensure_ascii=False)))
        return int(not sound)
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.state] = counts.get(finding.state, 0) + 1
        print_lines(_lines(finding))
    problems = counts.get(PROBLEM, 0)
    print_lines("\nNo problem was found." if not problems else f"\n{problems} problem{'s' * (problems > 1)}.")
    return int(bool(problems))


def _findings(path: Path | None) -> Iterable[Finding]:
    if path is None:
        from tocsin.cli.doctor_installation import check_installation

        return check_installation()
    from tocsin.cli.doctor_paths import check_path

    return check_path(path)


def _lines(finding: Finding) -> str:
    """A finding in lines of 80 columns; paths and commands are not broken."""
    lines = []
    for number, text in enumerate(filter(None, (finding.text, finding.advice))):
        lines += textwrap.wrap(
            terminal_text(" ".join(text.split())),
            _COLUMNS,
            initial_indent=finding.state.ljust(_INDENT) if number == 0 else " " * _INDENT,
            subsequent_indent=" " * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
