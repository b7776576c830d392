"""The check of cleaners."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tocsin.plugins.testing.construction import begin
from tocsin.plugins.testing.findings import Findings
from tocsin.plugins.testing.surroundings import check_arguments_remembered, quoted, undisturbed
from tocsin.text.cleaners import Cleaner

__all__ = ["check_cleaner"]

# Readers replace lone surrogates, so that no cleaner meets one; but a cleaner must not make one either.
TEXTS = {
    "an empty text": "",
    "white space alone": " \t\u00a0\u3000 ",
    "a plain sentence": "The bridge is under water and two families are still on the roof.",
    "names, links and a retweet mark": "RT @aid_2014: we need tents http://example.org/x?a=1&b=2 #flood",
    "mentions and links alone": "@somebody http://example.org/abc",
    "HTML entities": "food &amp;amp; water &lt;now&gt; &#128557; &#x1F62D; &nbsp;&unknown; &",
    "an HTML entity that is half a surrogate pair": "lost &#xD83D; and &#55357; found",
    "a numeric HTML entity of 5,000 digits": f"&#{'1' * 5000}; and &#{'0' * 5000}65;",
    "backslashes of a JSON or Python escape": r"C:\new\table \ud83d \u0000 \x00 \N{BELL} \1 \g<0>",
    "emoji with joiners and skin tones": "help 😭🙏🏽 👨‍👩‍👧‍👦 🇭🇹 ❤️",
    "right-to-left text with direction marks": "\u202bالطريق مغلق\u202c والناس ينتظرون \u200fhttp://example.org\u200f",
    "combining marks": "e\u0301cole, Z\u0334\u0351\u0343a\u0337\u0308lgo, हिन्दी, ไม่มีน้ำ",
    "characters beyond the basic plane": "𝔣𝔩𝔬𝔬𝔡 𐍈 \U0010ffff",
    "NUL and control characters": "a\x00b\x01\x1b[31m\x7f\x85c",
    "newlines of every kind": "one\ntwo\r\nthree\rfour\u2028five\u2029six\x0bseven\x0c",
    "a byte-order mark": "\ufeffwater",
    "brackets and signs of regular expressions": "(((([[[[{{{{ a+*?|^$ ]]]] %s {} {0} $HOME",
    "one long word": "a" * 5000,
}

# What is repeated, and what ends it so that a pattern anchored at the end fails and tries again.
_REPEATED = (
    "a",
    " ",
    "ab ",
    "A.",
    "@",
    "@a ",
    "#a",
    "http://",
    "&amp;",
    "<b ",
    "\n",
    "1",
    "!",
    "(",
    "ب ",
    "😭",
)
_END = "!\n \x00?"
_LONGEST = 100_000
_SHORT = 40  # characters: up to here one more can double the time
_GROWTH = 1.25
_EIGHTH = 8
_TRIALS = 3
_TOO_STEEP = 32.0  # an eighth of the text in more than 1 / 32 of the time; linear is 8, quadratic 64
_WORTH_JUDGING = 0.12  # seconds of the processor
_ENOUGH = 0.25  # seconds: longer texts of a cleaner that is slow but even would only take time
_COARSE = 0.005  # seconds: what a clock may be off


@undisturbed()
def check_cleaner(component: type[Cleaner], /, **arguments: Any) -> None:
    """Check a cleaner: text to text whatever the text holds, pure, and in time that grows as the text does.

    Args:
        component: The class.
        arguments: Its constructor's arguments.

    Raises:
        NonConforming: Lists every fault.
    """
    findings, usable = begin(component, "cleaner", arguments)
    if usable and check_arguments_remembered(findings, component, arguments):
        _check_cleaning(findings, component, arguments)
    findings.conclude()


def _check_cleaning(findings: Findings, component: type[Cleaner], arguments: dict[str, Any]) -> None:
    cleaner = component(**arguments)
    slow = _slow_text(
        cleaner.clean
    )  # first: a pattern that backtracks without end would not come back from TEXTS
    if slow:
        findings.add(
            f"With clean(), {slow}. Look for a regular expression with one repetition inside another, or with "
            "a repetition before `$`."
        )
        return
    first: dict[str, str] = {}
    raised: dict[str, str] = {}
    no_text: dict[str, str] = {}
    for kind, text in TEXTS.items():
        try:
            cleaned = cleaner.clean(text)
        except Exception as error:
            raised[kind] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if isinstance(cleaned, str):
            first[kind] = cleaned
        else:
            no_text[kind] = quoted(cleaned)
    if raised:
        kind, said = next(iter(raised.items()))
        findings.add(
            f"clean() raised {said.rstrip(' :')} for {kind} ({quoted(TEXTS[kind])}){_and_more(raised)}. Any text can "
            "be a message: return a text for it, if need be an empty one."
        )
    if no_text:
        kind, out = next(iter(no_text.items()))
        findings.add(
            f"clean() returned {out} for {kind} ({quoted(TEXTS[kind])}){_and_more(no_text)}. A text (str) is wanted, "
            "an empty one where nothing is left; is a `return` missing?"
        )
    for kind, cleaned in first.items():
        try:
            cleaned.encode("utf-8")
        except UnicodeEncodeError:
            findings.add(
                f"clean() made of {kind} ({quoted(TEXTS[kind])}) a text that UTF-8 cannot hold: {quoted(cleaned)}. It "
                "holds half a surrogate pair; put U+FFFD in its place."
            )
            break
    if first:
        _check_pure(findings, cleaner, component(**arguments), first)


def _check_pure(findings: Findings, cleaner: Cleaner, fresh: Cleaner, first: dict[str, str]) -> None:
    """Compare with other orders, other objects and second times; one fault is enough."""
    ways = {
        "once more": (cleaner, list(first)),
        "once more after other texts": (cleaner, list(reversed(first))),
        "by another object built with the same arguments": (fresh, list(first)),
    }
    for way, (by, kinds) in ways.items():
        for kind in kinds:
            for _ in range(3):
                again = by.clean(TEXTS[kind])
                if again != first[kind]:
                    findings.add(
                        f"The same text cleaned {way} gave another result: {quoted(TEXTS[kind])} became "
                        f"{quoted(first[kind])}, then {quoted(again)}. The result must follow from the text alone: no "
                        "random number, no clock, nothing remembered from earlier texts."
                    )
                    return


def _and_more(faults: dict[str, str]) -> str:
    others = len(faults) - 1
    return f", and likewise for {others} of {len(TEXTS) - 1} other kinds of text" if others else ""


def _slow_text(clean: Callable[[str], str]) -> str | None:
    """Return a sentence about texts whose time grows much faster than their length, or None.

    Lengths grow step by step, so that a pattern that backtracks without end is seen while a step takes a moment.
    Times are those of the processor, judged against each other and never alone.
    """
    longest = _LONGEST * 1.01
    for unit in _REPEATED:
        length = 8.0
        while length <= longest:
            size = int(length)
            taken = _seconds(clean, _text(unit, size))
            if taken > _WORTH_JUDGING:
                # Measured again and again: a busy machine makes single measurements longer, never shorter.
                whole = min(_seconds(clean, _text(unit, size)) for _ in range(_TRIALS))
                part = min(_seconds(clean, _text(unit, size // _EIGHTH)) for _ in range(_TRIALS))
                if whole > _WORTH_JUDGING and whole / max(part, _COARSE) > _TOO_STEEP:
                    return (
                        f"cleaning {size:,} characters of {unit!r} over and over took {whole:.2g} s, and an eighth of "
                        f"them {part:.2g} s: the time grows much faster than the text, and one long message could "
                        "stop a run"
                    )
                if whole > _ENOUGH:
                    longest = length / 4  # slow, but even: the other texts need not take as long
            length = length + 1 if length < _SHORT else length * _GROWTH
    return None


def _text(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size] + _END


def _seconds(clean: Callable[[str], str], text: str) -> float:
    start = time.process_time()
    with suppress(Exception):  # what is raised is told for a shorter text
        clean(text)
    return time.process_time() - start
