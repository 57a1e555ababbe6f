"""Functions whose results are kept: which calls share one, and what the decorated function is."""

from __future__ import annotations

import asyncio
import enum
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
from computations import Work, settle
from crew import together
from store_doubles import CountingStore, FaultyStore, wrap

from cloudcached import Client, ConfigError, KeyRejected, StoreUnreachable
from cloudcached.testing import FakeClock

shared = Client("memory://")


@shared.memoize()
def at_the_top(number: int) -> int:
    """Return the number."""
    return number


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client("memory://", clock=clock)


@pytest.fixture
def calls() -> list[Any]:
    """Give a list of what was computed."""
    return []


class TestCalls:
    def test_a_result_is_kept_until_its_time(self, client, clock, calls):
        @client.memoize(10)
        def double(number: int) -> int:
            calls.append(number)
            return 2 * number

        assert [double(1), double(1), double(2), double(1)] == [2, 2, 4, 2]
        clock.advance(10)
        assert double(1) == 2
        assert calls == [1, 2, 1]

    def test_the_same_call_in_other_words(self, client, calls):
        @client.memoize()
        def function(a: int, /, b: int = 2, *rest: int, c: int = 3, **others: int) -> None:
            calls.append((a, b, rest, c, others))

        for _ in range(2):
            function(1)
            function(1, 2)
            function(1, b=2, c=3)
            function(1, c=3, b=2)
        assert len(calls) == 1
        function(1, 2, 3)
        function(1, 2, 3, 4, d=5, e=6)
        function(1, 2, 3, 4, e=6, d=5)
        assert len(calls) == 3

    @pytest.mark.parametrize("result", [None, False, 0, "", [], {"deep": (1, 2)}], ids=repr)
    def test_every_result_is_one(self, client, calls, result):
        @client.memoize()
        def function() -> Any:
            calls.append(1)
            return result

        assert [function(), function()] == [result, result]
        assert calls == [1]

    def test_exceptions_are_none(self, client, calls):
        @client.memoize()
        def function() -> None:
            calls.append(1)
            raise ZeroDivisionError

        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                function()
        assert calls == [1, 1]
        assert list(client.keys()) == []

    def test_wrong_calls_are_wrong(self, client):
        @client.memoize()
        def function(a: int) -> None: ...

        with pytest.raises(TypeError, match="missing a required argument"):
            function()  # type: ignore[call-arg]
        assert list(client.keys()) == []

    def test_one_of_many_threads_computes(self, client):
        work = Work()

        @client.memoize()
        def function(number: int) -> Any:
            return work()

        assert together(20, function, 1) == [{"call": 1}] * 20

    def test_functions_call_each_other_and_themselves(self, client, calls):
        @client.memoize()
        def fibonacci(number: int) -> int:
            calls.append(number)
            return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

        assert fibonacci(30) == 832_040
        assert sorted(calls) == list(range(31))

    def test_the_options_of_get_or_put(self, client, clock):
        work = Work()
        client.fills._draw = lambda: 0.5

        @client.memoize(10, lock=True, early=1, stale=20, jitter=0.2)
        def function() -> Any:
            clock.advance(1)
            return work()

        store = wrap(client, CountingStore)
        assert function() == {"call": 1}
        assert len(store.requests) == 6
        assert client.ttl(function.key_for()) == 29
        clock.advance(15)
        assert function() == {"call": 1}
        settle(client)
        assert function() == {"call": 2}

    def test_without_its_store(self, clock, calls):
        client = Client("memory://", clock=clock, fail_silently=True)

        @client.memoize()
        def function() -> int:
            calls.append(1)
            return 7

        wrap(client, FaultyStore).broken[client.engine.place(function.key_for()).object_key] = StoreUnreachable("away")
        assert [function(), function()] == [7, 7]
        assert calls == [1, 1]


class TestKeys:
    def test_the_functions_identity_is_in_it(self, client):
        @client.memoize()
        def function() -> str:
            return "first"

        first = function

        class Other:
            @staticmethod
            @client.memoize()
            def function() -> str:
                return "second"

        assert [first(), Other.function(), first()] == ["first", "second", "first"]
        key = first.key_for()
        assert key.startswith(f"memoize:{__name__}.TestKeys.test_the_functions_identity_is_in_it.<locals>.function:1:")

    def test_a_new_version_begins_anew(self, client):
        def make(version: int | str) -> Callable[[], Any]:
            @client.memoize(version=version)
            def function() -> Any:
                return version

            return function

        assert [make(1)(), make(2)(), make("2b")(), make(1)()] == [1, 2, "2b", 1]

    def test_ignored_arguments(self, client, calls):
        @client.memoize(ignore=["request", "debug", "trace"])
        def function(request: object, a: int, debug: bool = False, **others: int) -> int:
            calls.append(a)
            return a

        assert [function(object(), 1), function(object(), 1, debug=True), function(object(), 1, trace=1)] == [1, 1, 1]
        function(object(), 1, other=1)
        assert calls == [1, 1]

    def test_a_key_of_ones_own(self, client, calls):
        @client.memoize(key=lambda user, page=1: f"{user['id']}/{page}", version=3)
        def function(user: dict[str, Any], page: int = 1) -> None:
            calls.append(page)

        function({"id": 5, "seen": object()})
        function({"id": 5}, page=1)
        assert calls == [1]
        assert function.key_for({"id": 5}, 2).endswith(".function:3:5/2")

    def test_a_key_of_ones_own_is_a_str(self, client):
        @client.memoize(key=lambda: 1)  # type: ignore[arg-type, return-value]
        def function() -> None: ...

        with pytest.raises(KeyRejected, match="function: key= returned a int, not a str"):
            function()

    def test_an_argument_without_a_stable_text(self, client, calls):
        @client.memoize()
        def function(a: int, request: object) -> None:
            calls.append(a)

        with pytest.raises(
            KeyRejected, match=r"function: the argument 'request': a builtins.object has no stable text"
        ):
            function(1, object())
        assert calls == []

    def test_enums_are_told_by_name(self, client):
        Colour = enum.Enum("Colour", "RED GREEN")  # noqa: N806

        @client.memoize()
        def function(colour: enum.Enum) -> str:
            return colour.name

        assert [function(Colour.RED), function(Colour.GREEN)] == ["RED", "GREEN"]

    def test_invalidate_and_clear(self, client, calls):
        @client.memoize()
        def function(a: int, b: int = 2) -> int:
            calls.append(a)
            return a

        assert [function(1), function(2)] == [1, 2]
        assert function.invalidate(1, b=2) is True
        assert function.invalidate(1) is False
        assert [function(1), function(2)] == [1, 2]
        assert calls == [1, 2, 1]
        assert client.clear(prefix=function.key_for(1).rpartition(":")[0]) == 2
        assert client.get(function.key_for(2)) is None


class Shop:
    """Something with methods."""

    client = Client("memory://")

    def __init__(self, name: str) -> None:
        self.name = name

    @client.memoize(ignore=["self"])
    def price(self, item: str, count: int = 1) -> str:
        """Return the price."""
        return f"{count} {item} of {self.name}"

    @client.memoize(key=lambda self, item: f"{self.name}/{item}")
    def stock(self, item: str) -> str:
        return f"{item} at {self.name}"

    @client.memoize()
    def unkeyed(self) -> None: ...

    @client.memoize(ignore=["self"])
    async def order(self, item: str) -> str:
        return f"ordered {item} of {self.name}"

    @classmethod
    @client.memoize(key=lambda cls, item: f"{cls.__name__}/{item}")
    def kinds(cls, item: str) -> str:
        return f"{item} {cls.__name__}"


class TestMethods:
    @pytest.fixture(autouse=True)
    def _empty(self):
        Shop.client.clear()

    def test_share_results_where_self_is_ignored(self):
        one, other = Shop("one"), Shop("other")
        assert one.price("pen") == other.price("pen") == other.price("pen", count=1) == "1 pen of one"
        assert other.price("pen", 2) == "2 pen of other"
        assert Shop.price(other, "pen") == "1 pen of one"

    def test_know_their_object(self):
        one, other = Shop("one"), Shop("other")
        assert [one.stock("pen"), other.stock("pen")] == ["pen at one", "pen at other"]
        with pytest.raises(KeyRejected, match=r"'self': a \S*Shop has no stable text"):
            one.unkeyed()

    def test_what_they_have_is_bound_too(self):
        one, other = Shop("one"), Shop("other")
        assert one.stock("pen") == "pen at one"
        assert one.stock.key_for("pen") == Shop.stock.key_for(one, "pen") != other.stock.key_for("pen")
        assert one.stock.uncached("cap") == "cap at one"
        assert other.stock.invalidate("pen") is False
        assert one.stock.invalidate("pen") is True
        assert str(inspect.signature(one.price)) == "(item: 'str', count: 'int' = 1) -> 'str'"
        assert one.price.__doc__ == "Return the price."

    def test_of_classes(self):
        class Store(Shop):
            pass

        assert [Shop.kinds("pen"), Store.kinds("pen"), Shop.kinds("pen")] == ["pen Shop", "pen Store", "pen Shop"]

    async def test_that_are_awaited(self):
        one = Shop("one")
        assert await one.order("pen") == await Shop("other").order("pen") == "ordered pen of one"
        assert await one.order.ainvalidate("pen") is True
        assert await one.order.uncached("cap") == "ordered cap of one"

    def test_are_pickled_with_their_object(self):
        assert pickle.loads(pickle.dumps(Shop("one").stock))("pen") == "pen at one"


class TestDecorating:
    def test_it_looks_like_the_function(self):
        assert (at_the_top.__name__, at_the_top.__doc__) == ("at_the_top", "Return the number.")
        assert inspect.unwrap(at_the_top) is at_the_top.uncached
        assert str(inspect.signature(at_the_top)) == "(number: 'int') -> 'int'"
        assert repr(at_the_top) == f"<memoized {__name__}.at_the_top>"

    def test_it_is_seen_to_be_async(self, client):
        @client.memoize()
        async def function() -> None: ...

        # Before 3.12, only asyncio can be told that an object is to be awaited.
        seen = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
        assert seen(function)
        assert seen(Shop("one").order)
        assert not seen(at_the_top)

    def test_it_is_pickled_by_name(self):
        assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top

    def test_it_asks_nothing(self, client):
        store = wrap(client, CountingStore)
        client.memoize()(len)
        assert store.requests == []

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (1, "takes a function"),
            (staticmethod(len), "below @staticmethod"),
            (lambda: 1, "all lambdas of a module"),
            (type("Caller", (), {"__call__": lambda self: 1})(), "takes a function"),
        ],
    )
    def test_what_is_no_function_of_its_own(self, client, function, message):
        with pytest.raises(ConfigError, match=message):
            client.memoize()(function)

    def test_generators(self, client):
        def plain():
            yield 1

        async def awaited():
            yield 1

        for function in (plain, awaited):
            with pytest.raises(ConfigError, match="is a generator"):
                client.memoize()(function)

    def test_names_that_the_function_does_not_have(self, client):
        def function(a: int) -> None: ...

        with pytest.raises(ConfigError, match=r"ignore names 'self'; .*function\(a: 'int'\) -> 'None' has no such"):
            client.memoize(ignore=["self"])(function)
        client.memoize(ignore="a")(function)

    def test_a_lambda_with_a_key(self, client):
        function = client.memoize(key=lambda number: f"square {number}")(lambda number: number**2)
        assert [function(3), function(3)] == [9, 9]

    def test_a_decorator_without_its_brackets(self, client):
        with pytest.raises(ConfigError, match="a time to expire"):

            @client.memoize
            def function() -> None: ...


def test_a_memoized_function_as_a_default(client):
    @client.memoize()
    def function() -> int:
        return 7

    assert client.get_or_put("k", function) == 7
