"""What every role's check says of a component's class, constructor and documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.plugins.testing.rejections import faults, only_fault
from tocsin.models.heads import Head, LinearHead
from tocsin.models.schedules import Constant, Schedule
from tocsin.plugins import ConfigError
from tocsin.plugins.testing import NonConforming, check_cleaner, check_head, check_schedule
from tocsin.text.cleaners import Cleaner

if TYPE_CHECKING:
    from decimal import Decimal


def test_an_object_is_no_class() -> None:
    fault = only_fault(check_schedule, Constant())
    assert fault == (
        "A class is wanted, and an object of Constant was given. Give the class, without (): check_schedule(Constant)."
    )


def test_a_class_of_another_role_is_refused() -> None:
    fault = only_fault(check_head, Constant)
    assert "It is not a subclass of tocsin.plugins.Head: write `class Constant(Head)`." in fault


def test_what_is_abstract_is_named() -> None:
    class _WrongHead(Head):
        """Half a head."""

        needs = "tokens"

        def build(self, encoder_config: Any, labels: int, pooler: Any = None) -> None: ...

    fault = only_fault(check_head, _WrongHead)
    assert "It is abstract: it still lacks forward." in fault


def test_a_docstring_of_its_own_is_wanted() -> None:
    class _WrongSilent(Constant):
        pass

    assert "The class has no docstring of its own" in only_fault(check_schedule, _WrongSilent)


def test_each_argument_is_typed_and_described() -> None:
    class _WrongArguments(Constant):
        """Two arguments.

        Args:
            described: A share.
        """

        def __init__(self, described=0.1, typed: float = 0.1) -> None:  # type: ignore[no-untyped-def]
            pass

    found = faults(check_schedule, _WrongArguments)
    assert len(found) == 2
    assert "The argument described has no type" in found[0]
    assert "The argument typed is not described: add `typed: …`" in found[1]


@pytest.mark.parametrize("stars", ["*", "**"])
def test_no_open_arguments(stars: str) -> None:
    class _WrongStars(Constant):
        """Takes what comes."""

    def one(self: Any, *options: Any) -> None: ...
    def two(self: Any, **options: Any) -> None: ...

    _WrongStars.__init__ = one if stars == "*" else two  # type: ignore[method-assign]
    fault = only_fault(check_schedule, _WrongStars)
    assert f"The constructor takes {stars}options: a YAML could not be checked against it" in fault


def test_arguments_come_by_name() -> None:
    class _WrongPositional(Constant):
        """Wrong.

        Args:
            share: A share.
        """

        def __init__(self, share: float = 0.1, /) -> None:
            pass

    assert "The argument share is positional only" in only_fault(check_schedule, _WrongPositional)


def test_a_type_can_be_read() -> None:
    class _WrongImport(Constant):
        """Wrong.

        Args:
            share: A share.
        """

        def __init__(self, share: Decimal | None = None) -> None:
            pass

    class _WrongAny(Constant):
        """Wrong.

        Args:
            share: A share.
        """

        def __init__(self, share: Any = 0.1) -> None:
            pass

    fault = only_fault(check_schedule, _WrongImport)
    assert "The type of the argument share, 'Decimal | None', cannot be read" in fault
    assert "outside `if TYPE_CHECKING:`" in fault
    assert "The argument share may be anything" in only_fault(check_schedule, _WrongAny)


def test_a_default_fits_a_yaml_and_its_type() -> None:
    class _WrongObject(Constant):
        """Wrong.

        Args:
            inner: Another.
        """

        def __init__(self, inner: Schedule = Constant()) -> None:  # noqa: B008
            pass

    class _WrongNone(Constant):
        """Wrong.

        Args:
            share: A share.
        """

        def __init__(self, share: float = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
            pass

    class _WrongWord(Constant):
        """Wrong.

        Args:
            shape: Of the fall.
        """

        def __init__(self, shape: Literal["cosine", "linear"] = "sine") -> None:  # type: ignore[assignment]
            pass

    assert "which a YAML cannot hold" in only_fault(check_schedule, _WrongObject)
    fault = only_fault(check_schedule, _WrongNone)
    assert "The default of share is None, but its type is a number" in fault
    assert "share: … | None" in fault
    fault = only_fault(check_schedule, _WrongWord)
    assert fault == "The default of shape is 'sine', but its type is one of cosine, linear."


class _Needy(Constant):
    """Wants two numbers.

    Args:
        first: One.
        second: Two.
    """

    def __init__(self, first: float, second: float) -> None:
        if second < 0:
            raise ConfigError(f"second is {second}; wanted 0 or more")
        self.both = [first, second]


def test_required_arguments_are_asked_for_with_the_line_to_write() -> None:
    fault = only_fault(check_schedule, _Needy)
    assert "first, second have no defaults" in fault
    assert "check_schedule(_Needy, first=…, second=…)" in fault
    fault = only_fault(check_schedule, _Needy, first=0.5)
    assert "second has no default" in fault
    assert "check_schedule(_Needy, second=…)" in fault
    check_schedule(_Needy, first=0.5, second=1.0)


def test_a_constructor_that_raises_is_quoted() -> None:
    fault = only_fault(check_schedule, _Needy, first=0.5, second=-1.0)
    assert fault.startswith(
        "_Needy(first=0.5, second=-1.0) raised ConfigError: second is -1.0; wanted 0 or more."
    )


def test_arguments_are_plain_and_stay_as_they_were_given() -> None:
    class _WrongPlain(Constant):
        """Wrong.

        Args:
            inner: Another.
        """

        def __init__(self, inner: Schedule) -> None:
            pass

    class _WrongList(Constant):
        """Adds to what it was given.

        Args:
            shares: Some shares.
        """

        def __init__(self, shares: list[float]) -> None:
            shares.append(1.0)

    fault = only_fault(check_schedule, _WrongPlain, inner=Constant())
    assert "The argument inner was given" in fault
    assert "which neither a YAML nor a bundle can hold" in fault
    fault = only_fault(check_schedule, _WrongList, shares=[0.5])
    assert "The constructor changed its argument shares from [0.5] to [0.5, 1.0]" in fault


def test_what_json_gives_back_otherwise_is_not_plain() -> None:
    class _WrongTuple(Constant):
        """Wrong.

        Args:
            sizes: Some sizes.
        """

        def __init__(self, sizes: tuple[int, ...] = (1, 2)) -> None:
            pass

    class _WrongKeys(Constant):
        """Wrong.

        Args:
            weights: Of each layer.
        """

        def __init__(self, weights: dict[int, float]) -> None:
            pass

    assert "The default of sizes is (1, 2), which a YAML cannot hold" in only_fault(
        check_schedule, _WrongTuple
    )
    fault = only_fault(check_schedule, _WrongKeys, weights={1: 3.0})
    assert "The argument weights was given {1: 3.0}" in fault
    assert "mappings with text as keys" in fault


@dataclass
class _Words(Cleaner):
    """Deletes words.

    Args:
        word: One word.
        more: Other words.
    """

    word: str
    more: list[str] = field(default_factory=list)

    def clean(self, text: str) -> str:
        for word in (self.word, *self.more):
            text = text.replace(word, "")
        return text


def test_a_dataclass_conforms() -> None:
    check_cleaner(_Words, word="kaboom")
    check_cleaner(_Words, word="kaboom", more=["b"])


def test_a_base_that_swallows_the_arguments_is_noticed() -> None:
    class _Swallowing:
        def __new__(cls, *given: Any, **named: Any) -> Any:
            return super().__new__(cls)

    class _WrongWords(_Swallowing, Constant):
        """Wrong.

        Args:
            share: A share.
        """

        def __init__(self, share: float = 0.1) -> None:
            pass

    fault = only_fault(check_schedule, _WrongWords, share=0.5)
    assert "It was built with share=0.5, and its `arguments`" in fault
    assert "say {'share': 0.1}" in fault


def test_a_dataclass_of_torch_needs_its_hash_and_its_base() -> None:
    @dataclass
    class _WrongHash(LinearHead):
        """One linear layer.

        Args:
            share: Of the vector.
        """

        share: float = 0.1

        def __post_init__(self) -> None:
            super().__init__(self.share)

    @dataclass(eq=False)
    class _WrongStart(LinearHead):
        """One linear layer.

        Args:
            share: Of the vector.
        """

        share: float = 0.1

    @dataclass(eq=False)
    class _Right(LinearHead):
        """One linear layer.

        Args:
            share: Of the vector.
        """

        share: float = 0.1

        def __post_init__(self) -> None:
            super().__init__(self.share)

    fault = only_fault(check_head, _WrongHash)
    assert "Its objects have no hash" in fault
    assert "@dataclass(eq=False)" in fault
    assert "does not call super().__init__()" in only_fault(check_head, _WrongStart)
    check_head(_Right, share=0.25)


def test_all_faults_are_listed_at_once() -> None:
    class _WrongThrice(LinearHead):
        def __init__(self, rate=0.5, **more: float) -> None:  # type: ignore[no-untyped-def]
            super().__init__(rate)

        needs = "both"

    with pytest.raises(NonConforming) as caught:
        check_head(_WrongThrice)
    lines = str(caught.value).splitlines()
    assert lines[0] == "_WrongThrice is no conforming head: 5 faults."
    assert [line.split(". ")[0].strip() for line in lines[1:]] == list("12345")
    assert isinstance(caught.value, AssertionError)
