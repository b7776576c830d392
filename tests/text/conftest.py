"""Property tests draw the same cases every time, and a slow machine fails none of them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tocsin", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("tocsin")
