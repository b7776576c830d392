"""The cleaning profile "crisis" of the CrisisTransformers family of encoders."""

from __future__ import annotations

import html
import re

import emoji
import ftfy

from tocsin.plugins import Cleaner

__all__ = ["CrisisCleaner"]

_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
# Not inside a word: an e-mail address mentions nobody.
_MENTION = re.compile(r"(?<![\w@])@\w+")
# Python refuses to read a number of more than 4,300 digits; eight digits are beyond Unicode already.
_LONG_REFERENCE = re.compile(r"&#0*([0-9]{8})[0-9]*")

# What repairs wrong decoding, and nothing else: entities were decoded before, and quotes, widths and ligatures are
# characters that a writer chose.
_REPAIR = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=True,
    fix_encoding=True,
    restore_byte_a0=True,
    replace_lossy_sequences=True,
    decode_inconsistent_utf8=True,
    fix_c1_controls=True,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=True,
    remove_control_chars=True,
    normalization=None,
    explain=False,
)


class CrisisCleaner(Cleaner):
    """The "crisis" profile of CrisisTransformers (CT-XLMR-SE and its siblings), in this order.

    1. Links (`http://…`, `https://…`, `www.…`, up to the next white space) become `HTTPURL`.
    2. User names (`@` and the letters, digits and `_` after it, not inside a word) become `@USER`.
    3. HTML entities are decoded (`&amp;` to `&`).
    4. White space is collapsed: each run of it becomes one space, none is left at the ends.
    5. Text that was decoded by a wrong character set is repaired (`cafÃ©` to `café`), and control characters are
       removed, by ftfy. Quotes, ligatures and wide letters stay as they were written.
    6. Each emoji becomes its English name between colons (`:folded_hands:`), by the library emoji; one without a name
       of its own stays.

    The order is that of the steps' list in the source. So a user name or link that is written with entities
    stays, and neighbouring emoji stand side by side without a space. A text of links and user names alone does not
    become empty. Cleaning twice is not always cleaning once: `&amp;amp;` gives `&amp;`, then `&`. The names are those
    of the installed version of the library emoji, which knows the emoji of its year.

    Source: Lamsal, Read and Karunasekera (2024), "CrisisTransformers", arXiv 2309.05494; the tokens are those of
    BERTweet (Nguyen et al. 2020).
    """

    def clean(self, text: str) -> str:
        """Return the text after the six steps."""
        text = _LINK.sub("HTTPURL", text)
        text = _MENTION.sub("@USER", text)
        text = html.unescape(_LONG_REFERENCE.sub(r"&#\1", text))
        text = " ".join(text.split())
        text = ftfy.fix_text(text, _REPAIR)
        # Word by word: no emoji holds a space, and most words hold no emoji. The library keeps a list of all
        # characters that it is given.
        text = " ".join(word if word.isascii() else emoji.demojize(word) for word in text.split(" "))
        return text.strip()  # a repair can bring new white space to the ends: bytes A0 are spaces
