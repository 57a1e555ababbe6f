"""What asks the database when it is pickled asks in the caller's transaction, not in a thread of the pool."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

pytestmark = pytest.mark.django_db


@pytest.fixture
def users() -> Any:
    for name in ("ada", "grace"):
        User.objects.create_user(name)
    return User.objects.order_by("username")


def test_a_queryset_is_evaluated_once(cache: Any, users: Any) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        cache.set("users", users)
        assert [user.username for user in cache.get("users")] == ["ada", "grace"]
    assert len(queries) == 1


def test_querysets_in_every_verb(cache: Any, users: Any) -> None:
    assert cache.add("added", users.all()) is True
    assert cache.get_or_set("default", users.all()).count() == 2
    assert cache.set_many({f"many{number}": users.all() for number in range(100)}) == []
    cached = cache.get_many(["added", "default", "many0", "many99"])
    assert [[user.username for user in value] for value in cached.values()] == [["ada", "grace"]] * 4


def test_a_model_instance(cache: Any, users: Any) -> None:
    cache.set("user", users.get(username="ada"))
    cached = cache.get("user")
    assert (cached.username, cached.pk) == ("ada", User.objects.get(username="ada").pk)
