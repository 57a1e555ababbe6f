"""The public surface: what it is called, that it is typed, and that it is described."""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cloudcached
from cloudcached import MISSING, Client, EntryInfo, PartialFailure, StoreError, ValueRejected, errors

PACKAGES = ("cloudcached", "cloudcached_django", "cloudcached_flask")
#: Of ``Client``, what asks the store nothing.
FREE = {"close", "encode", "latencies", "listen", "lock", "memoize", "shared", "stats", "url"}


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    pytest.importorskip(
        {"cloudcached_django": "django", "cloudcached_flask": "flask_caching"}.get(request.param, "boto3")
    )
    return importlib.import_module(request.param)


def public_members(of: object) -> Iterator[tuple[str, Any]]:
    """Yield what a module or class defines under a public name itself."""
    for name, member in vars(of).items():
        if not name.startswith("_") and not inspect.ismodule(member) and name != "annotations":
            yield name, member


def test_all_is_sorted_and_exact(package: ModuleType) -> None:
    assert package.__all__ == sorted(name for name, _ in public_members(package))


def test_py_typed_is_there(package: ModuleType) -> None:
    assert (Path(package.__file__ or "").parent / "py.typed").is_file()


def test_every_public_name_is_described(package: ModuleType) -> None:
    bare = []
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value):
            for part, member in [("", value), *public_members(value)]:
                described = isinstance(member, property | classmethod | staticmethod) or callable(member)
                text = inspect.getdoc(getattr(value, part) if part else value)
                if described and not is_a_sentence(text):
                    bare.append(f"{name}.{part}")
    assert bare == []


def is_a_sentence(text: str | None) -> bool:
    """Whether a docstring begins with a sentence, on however many lines."""
    return bool(text) and re.match(r"[A-Z`].*?[.:;*]", text or "", re.DOTALL) is not None


#: The verbs of ``Client`` that ask the store; their awaited twins are not among them.
VERBS = [
    name
    for name in dir(Client)
    if not name.startswith("_") and name not in FREE and not inspect.iscoroutinefunction(getattr(Client, name))
]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_tells_its_cost(name: str) -> None:
    text = inspect.getdoc(getattr(Client, name)) or ""
    assert "**Cost:**" in text or "the rest as ``" in text


@pytest.mark.parametrize(
    "name", [*(name for name in VERBS if name != "open"), "close"]
)  # a file's own methods would block
def test_every_verb_has_a_twin_of_the_same_signature(name: str) -> None:
    verb, twin = getattr(Client, name), getattr(Client, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(verb).parameters == inspect.signature(twin).parameters


def test_every_exception_is_public() -> None:
    defined = {
        name for name, member in public_members(errors) if inspect.isclass(member) and issubclass(member, Exception)
    }
    assert defined - {"PickleError"} == set(errors.__all__)
    assert set(errors.__all__) <= set(cloudcached.__all__)
    assert all(issubclass(getattr(errors, name), errors.CloudCachedError) for name in errors.__all__)


class NamesOf(pickle.Unpickler):
    """Loads a pickle, and keeps what it names."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.names.add((module, name))
        return super().find_class(module, name)


def pickled(value: object) -> tuple[Any, set[tuple[str, str]]]:
    """Return what a pickle of *value* is loaded as, and what it names."""
    unpickler = NamesOf(pickle.dumps(value, 5))
    return unpickler.load(), unpickler.names


def entry_info() -> EntryInfo:
    client = Client("memory://")
    client.put("k", "v")
    info = client.info("k")
    assert info is not None
    return info


def example(name: str) -> errors.CloudCachedError:
    """Return an exception of the class of that name."""
    if name == "PartialFailure":
        return PartialFailure("put_many", {"a": True}, {"b": StoreError("no answer", operation="put", code="500")})
    made = getattr(errors, name)("what is wrong")
    assert isinstance(made, errors.CloudCachedError)
    return made


def test_the_pickle_of_an_info_names_the_public_class_alone() -> None:
    info = entry_info()
    back, names = pickled(info)
    assert back == info
    assert names == {("cloudcached", "EntryInfo")}
    assert b"cloudcached.entry" not in pickle.dumps(info)


def test_the_pickle_of_a_token_names_no_room() -> None:
    client = Client("memory://", signing_key="key")
    client.put("k", {"large": "x" * 1000}, 60)
    _, token = client.gets("k")
    back, names = pickled(token)
    assert names == {("cloudcached", "_token")}
    assert back == token
    assert len(pickle.dumps(token)) < 1000
    assert client.put("token", token)
    assert client.cas("k", "new", client.get("token")) is True
    assert client.cas("k", "newer", token) is False
    _, missing = client.gets("nothing")
    assert pickle.loads(pickle.dumps(missing)) == missing


def test_the_pickle_of_missing_names_the_public_constant_alone() -> None:
    back, names = pickled([MISSING])
    assert back[0] is MISSING
    assert names == {("cloudcached", "MISSING")}


@pytest.mark.parametrize("name", errors.__all__)
def test_the_pickle_of_an_exception_names_the_public_class_alone(name: str) -> None:
    error = example(name)
    back, names = pickled(error)
    assert type(back) is type(error)
    assert (str(back), back.args, vars(back).keys()) == (str(error), error.args, vars(error).keys())
    assert {module for module, _ in names} == {"cloudcached.errors"}


def test_a_partial_failure_is_pickled_with_its_results() -> None:
    back, _ = pickled(example("PartialFailure"))
    assert back.results == {"a": True}
    assert (str(back.failures["b"]), back.failures["b"].code) == ("no answer", "500")


def test_public_objects_are_stored_as_any_value() -> None:
    client = Client("memory://", signing_key="a secret")
    info = entry_info()
    client.put("k", {"info": info, "missing": MISSING, "error": example("PartialFailure")})
    back = client.get("k")
    assert back["info"] == info
    assert back["missing"] is MISSING
    assert back["error"].results == {"a": True}


@pytest.mark.parametrize("value", [Client("memory://"), Client("memory://").lock("a"), [Client("memory://").encode(1)]])
def test_what_must_not_be_stored_is_refused_with_a_reason(value: object) -> None:
    with pytest.raises(ValueRejected, match="cannot be pickled"):
        Client("memory://", signing_key="a secret").put("k", value)


def test_one_version() -> None:
    assert cloudcached.__version__ == version("cloudcached")


@pytest.mark.parametrize(
    ("package_name", "heavy"),
    [
        ("cloudcached", {"boto3", "botocore", "django", "flask"}),
        ("cloudcached_django", {"boto3", "botocore", "flask"}),
        ("cloudcached_flask", {"boto3", "botocore", "django"}),
    ],
)
def test_import_loads_nothing_heavy(package_name: str, heavy: set[str]) -> None:
    script = f"import sys, {package_name}; print(*sorted(sys.modules.keys() & {heavy!r}))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
