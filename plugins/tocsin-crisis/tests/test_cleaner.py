"""The crisis profile, step by step."""

from __future__ import annotations

import pytest

from tocsin.plugins.testing import check_cleaner
from tocsin_crisis import tocsin_cleaners
from tocsin_crisis.cleaner import CrisisCleaner


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("see http://t.co/x1 and HTTPS://t.co/x2, or www.aid.org", "see HTTPURL and HTTPURL or HTTPURL"),
        ("RT @aid_2014: we need tents", "RT @USER: we need tents"),
        ("@one @two.help me@aid.org", "@USER @USER.help me@aid.org"),
        ("@ambulansé", "@USER"),  # user names of any script
        ("food &amp; water &lt;now&gt; &#128557;", "food & water <now> :loudly_crying_face:"),
        ("  bridge\n\tdown\u00a0\u3000now ", "bridge down now"),
        ("cafÃ© fermÃ©, Ð¿Ð¾Ð¼Ð¾Ñ‰ÑŒ", "café fermé, помощь"),
        ("ðŸ˜­ help", ":loudly_crying_face: help"),
        ("help 😭🙏🏽", "help :loudly_crying_face::folded_hands_medium_skin_tone:"),
        ("🇭🇹 ❤️", ":Haiti: :red_heart:"),
        ("a\x00b\x1b[31mc", "abc"),
        ("“ﬁre” ＡＢＣ", "“ﬁre” ＡＢＣ"),  # chosen by the writer
        ("الطريق مغلق 🙏", "الطريق مغلق :folded_hands:"),
        ("", ""),
        ("@somebody http://t.co/abc", "@USER HTTPURL"),
    ],
)
def test_steps(text: str, cleaned: str) -> None:
    assert CrisisCleaner().clean(text) == cleaned


def test_order_of_the_steps() -> None:
    # Links and names come before entities: what entities hide stays.
    assert CrisisCleaner().clean("&#64;user help") == "@user help"
    assert CrisisCleaner().clean("http://x.org/?a&#32;b") == "HTTPURL"
    # A name inside a link is part of the link.
    assert CrisisCleaner().clean("http://x.org/@user") == "HTTPURL"
    # Entities come before white space: what they stand for is collapsed.
    assert CrisisCleaner().clean("a&#10;&nbsp;b&nbsp;") == "a b"
    # Repair comes before emoji: an emoji that was decoded wrongly gets its name.
    assert CrisisCleaner().clean("&#xF0;Ÿ™\u008f") == ":folded_hands:"


def test_it_conforms_and_is_offered() -> None:
    check_cleaner(CrisisCleaner)
    assert tocsin_cleaners() == [CrisisCleaner]
