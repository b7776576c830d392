"""The walk through a document must be able to fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.docs.walkthrough import matches, steps, walk


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a", "a\nb\n", False),
        ("…\nb", "a\nb\n", True),
        ("a\n…", "a\n", True),
        ("…\nc", "a\nb\n", False),
        ("took … s, done", "took a few s, done", True),
        ("took … s, done", "took a few s", False),
        ("loss 0.61, 12 s", "loss 7.25, 3 s", True),
        ("loss 0.61", "loss nan", False),
        ("a   ━━━━ 7", "a ━━ 8", True),
        ("text  fire 0.81*, flood 0.20", "text flood 0.44, fire 0.40", True),
        ("text  fire 0.81*, flood 0.20", "text flood 0.44", False),
        ("\n", "", True),
        ("", "a", False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


DOCUMENT = f"""\
```text note.txt
one
two
```
Some words, and a block that is nobody's:
```yaml
head: LinearHead
```
```console
$ {sys.executable} -c \\
    "print(open('note.txt').read())"
one
two
```
```diff note.txt
-two
+three
```
"""


def test_files_are_written_changed_and_read(tmp_path: Path) -> None:
    assert [step.kind for step in steps(DOCUMENT)] == ["file", "command", "diff"]
    printed = [out for _, out in walk(DOCUMENT, tmp_path, dict(os.environ))]
    assert printed == ["", "one\ntwo\n\n", ""]
    assert (tmp_path / "note.txt").read_text() == "one\nthree\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\none\ntwo\n```\n```diff", "\nnine\n```\n```diff", "It printed:\none\ntwo"),
        ("\none\ntwo\n```\n```diff", "\ntocsin: one\n```\n```diff", "ended with 0, not 2"),
        ("-two", "-four", "does not hold once"),
        ("print(open", "raise SystemExit(open", "ended with 1, not 0"),
    ],
)
def test_a_document_that_is_wrong_fails(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert DOCUMENT.count(old) == 1
    with pytest.raises(AssertionError, match=said):
        list(walk(DOCUMENT.replace(old, new), tmp_path, dict(os.environ)))


def test_a_file_that_is_there_must_hold_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("zero\n")
    with pytest.raises(AssertionError, match=r"note\.txt holds something else"):
        list(walk(DOCUMENT, tmp_path, dict(os.environ)))
