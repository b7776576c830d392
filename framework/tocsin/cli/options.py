"""The parser of verbs whose options are plain: argparse's, which shows what was given as text."""

from __future__ import annotations

import argparse
from typing import NoReturn

from tocsin.escaping import terminal_text

__all__ = ["OptionParser"]


class OptionParser(argparse.ArgumentParser):
    """Argparse's parser; a script may hand on arguments that hold escape sequences, and its errors quote them."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, control characters shown; exit with code 2."""
        super().error(terminal_text(message))
