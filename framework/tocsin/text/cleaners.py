"""Cleaning profiles: what happens to a message's text before anything else sees it.

A profile is part of a model: training, evaluation and the shipped bundle apply the same one.
"""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod

from tocsin.arguments import RemembersArguments

__all__ = ["Cleaner", "NoCleaner", "TweetCleaner"]


class Cleaner(RemembersArguments, ABC):
    """Turns the text of one message into the text that is tokenised."""

    @abstractmethod
    def clean(self, text: str) -> str:
        """Return the cleaned text, possibly empty. Pure: the result depends on the text alone."""


class NoCleaner(Cleaner):
    """Leaves every text as it is."""

    def clean(self, text: str) -> str:
        """Return the text unchanged."""
        return text


_MENTION = re.compile(r"@[A-Za-z0-9_:]+")
_LINK = re.compile(r"http\S+")
# Python refuses to read a number of more than 4,300 digits. Eight digits are beyond Unicode already, so that what
# comes after them changes nothing: html.unescape gives U+FFFD.
_LONG_REFERENCE = re.compile(r"&#0*([0-9]{8})[0-9]*")


class TweetCleaner(Cleaner):
    """The "tweet" profile of m2im/labse_finetuned_twitter, step by step and in its order.

    1. Each newline becomes a space.
    2. HTML entities are decoded (`&amp;` to `&`).
    3. User names are deleted: `@` and the letters, digits, `_` and `:` after it.
    4. Links are deleted: `http` and everything up to the next white space.
    5. The retweet mark `RT ` is deleted, wherever it stands (also inside `START now`, as in the source).
    6. White space at both ends is stripped.

    A text of user names and links alone becomes empty. Cleaning twice is not always cleaning once:
    `&amp;amp;` gives `&amp;`, then `&`.

    Source: model card of m2im/labse_finetuned_twitter.
    """

    def clean(self, text: str) -> str:
        """Return the text after the six steps."""
        text = text.replace("\n", " ")
        text = html.unescape(_LONG_REFERENCE.sub(r"&#\1", text))
        text = _MENTION.sub("", text)
        text = _LINK.sub("", text)
        text = text.replace("RT ", "")
        return text.strip()
