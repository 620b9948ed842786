"""Abilities are remembered by class, and are what `isinstance` says of every platform."""

from __future__ import annotations

import pytest

from services.platforms import abilities, all_platforms
from services.platforms.abilities import has

ABILITIES = [
    one for one in vars(abilities).values() if isinstance(one, type) and getattr(one, "_is_runtime_protocol", False)
]


@pytest.mark.parametrize("ability", ABILITIES, ids=lambda one: one.__name__)
def test_what_is_remembered_is_what_isinstance_says(ability: type) -> None:
    for _ in range(2):
        assert [has(one, ability) for one in all_platforms().values()] == [
            isinstance(one, ability) for one in all_platforms().values()
        ]
    assert not has(None, ability)


def test_every_ability_is_somebodys() -> None:
    assert len(ABILITIES) > 8
    for ability in ABILITIES:
        assert any(has(one, ability) for one in all_platforms().values()), ability


def test_a_class_is_asked_once() -> None:
    class Other:
        """No platform's class, so that nothing is remembered of it."""

    asked: list[object] = []

    class Ability(type):
        def __instancecheck__(cls, instance: object) -> bool:
            asked.append(instance)
            return True

    class Made(metaclass=Ability):
        """An ability that counts who asks for it."""

    one, another = Other(), Other()
    assert has(one, Made)
    assert has(another, Made)
    assert asked == [one]
