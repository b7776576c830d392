"""A cleaning profile: white space."""

from tocsin.plugins import Cleaner

__all__ = ["TemplateCleaner"]


class TemplateCleaner(Cleaner):
    """Makes one blank of each run of white space, line breaks included.

    Args:
        lower: Whether letters become lower case.
    """

    def __init__(self, lower: bool = False) -> None:
        self.lower = lower

    def clean(self, text: str) -> str:
        """Return the text with single blanks and none at its ends."""
        text = " ".join(text.split())
        return text.lower() if self.lower else text
