"""Lifecycle rules: what they are, what entries need for them, and how they are merged with others'."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from store_doubles import CountingStore, wrap

from cloudcached import Client, ConfigError, PartialFailure, StoreRefused
from cloudcached.cli import command_line
from cloudcached.cli.lifecycle import advice_on
from cloudcached.config import Config
from cloudcached.entry.expiry import CLASSES_DAYS, DAY_SECONDS, class_of
from cloudcached.entry.keys import Names
from cloudcached.maintenance.lifecycle import Lifecycle, merge, owner, rules
from cloudcached.stores.memory import MemoryStore, objects_named
from cloudcached.testing import FakeClock

DAY = DAY_SECONDS
#: What others may have in a bucket, in all the forms that S3 gives back.
OTHERS: list[dict[str, Any]] = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}},
    {"ID": "", "Status": "Disabled", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 9}},
    {
        "ID": "cloudcached:p:mine",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "cc-ttl", "Value": "x"}], "ObjectSizeGreaterThan": 5}},
        "Expiration": {"Days": 4},
    },
    {
        "ID": "cloudcached:p:q:ttl-1",  # the cache in p:q
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "p:q/", "Tags": [{"Key": "cc-ttl", "Value": "1"}]}},
        "Expiration": {"Days": 1},
    },
]
OLD = {"ID": "old", "Status": "Enabled", "Prefix": "old/", "Expiration": {"Days": 3}}


def config_of(url: str = "s3://bucket/p", **options: Any) -> Config:
    return Config.parse(url, options)


def rules_of(url: str = "s3://bucket/p", **given: Any) -> list[dict[str, Any]]:
    return rules(config_of(url), **{"tags": False, "max_age_days": None, "versioned": False, **given})


def prefixes(made: list[dict[str, Any]]) -> list[str]:
    return [rule["Filter"].get("Prefix", rule["Filter"].get("And", {}).get("Prefix", "")) for rule in made]


# Classes


@pytest.mark.parametrize(
    ("seconds", "days"),
    [
        (None, None),
        (-5, 1),
        (1, 1),
        (DAY, 1),
        (DAY + 1, 3),
        (3 * DAY, 3),
        (8 * DAY, 14),
        (31 * DAY, 90),
        (365 * DAY, 365),
        (365 * DAY + 1, None),
    ],
)
def test_a_class_never_ends_before_the_entry(seconds: float | None, days: int | None) -> None:
    assert class_of(None if seconds is None else int((1000 + seconds) * 1000), 1000.0) == days


WRITES: dict[str, tuple[Callable[[Client], Any], str | None]] = {
    "put": (lambda c: c.put("k", 1, 2 * DAY, replace=True), "3"),
    "put, never": (lambda c: c.put("k", 1, None, replace=True), None),
    "put_many": (lambda c: c.put_many({"k": 1}, 2 * DAY, replace=True), "3"),
    "update": (lambda c: c.update("k", 2, 8 * DAY), "14"),
    "touch": (lambda c: c.touch("k", 20 * DAY), "30"),
    "persist": (lambda c: c.persist("k"), None),
    "expire_at": (lambda c: c.expire_at("k", c.engine.clock.time() + 80 * DAY), "90"),
    "incr, which keeps the expiry": (lambda c: c.incr("k"), "1"),
    "cas": (lambda c: c.cas("k", 1, c.gets("k")[1], 2 * DAY), "3"),
    "get_or_put": (lambda c: (c.delete("k"), c.get_or_put("k", lambda: 1, 2 * DAY)), "3"),
    "put_file": (lambda c: c.put_file("k", io.BytesIO(b"file"), 2 * DAY, replace=True), "3"),
    "put_file, in parts": (lambda c: c.put_file("k", io.BytesIO(bytes(9 << 20)), 2 * DAY, replace=True), "3"),
}


@pytest.mark.parametrize("verb", WRITES)
def test_every_write_renews_the_class(verb: str, clock: FakeClock) -> None:
    client = Client("memory://classes", clock=clock, expiry_tags=True)
    client.put("k", 1, 3600, replace=True)
    objects = objects_named("classes").by_name
    object_key = client.engine.place("k").object_key
    assert objects[object_key].tags == {"cc-ttl": "1"}
    write, tag = WRITES[verb]
    write(client)
    assert objects[object_key].tags == ({} if tag is None else {"cc-ttl": tag})


def test_without_the_options_nothing_is_tagged_and_nothing_is_asked(clock: FakeClock) -> None:
    client = Client("memory://untagged", clock=clock)
    client.put("k", 1, replace=True)
    assert objects_named("untagged").by_name[client.engine.place("k").object_key].tags == {}
    assert not client.engine.lifetimes.active
    assert type(client.engine.store) is MemoryStore


def test_locks_carry_no_tag(clock: FakeClock) -> None:
    client = Client("memory://locks", clock=clock, expiry_tags=True, max_age_days=1)
    with client.lock("l"):
        pass
    assert [found.tags for found in objects_named("locks").by_name.values()] == [{}]


@pytest.mark.parametrize("transport", ["boto3", "wire"])
def test_tags_reach_the_bucket(server: Any, s3_url: str, transport: str) -> None:
    with Client(s3_url, expiry_tags=True, transport=transport) as client:
        client.put("k", "v", 5 * DAY)
        client.put("never", "v", None)
        tags = {
            key: server.client().get_object_tagging(Bucket=server.bucket, Key=client.info(key).object_key)["TagSet"]
            for key in ("k", "never")
        }
        assert client.get("k") == "v"
    assert tags == {"k": [{"Key": "cc-ttl", "Value": "7"}], "never": []}


# Lives that are too long for a rule


@pytest.mark.parametrize("time_to_expire", [None, 7 * DAY + 1])
@pytest.mark.parametrize(
    "write",
    [
        lambda c, t: c.put("new", 1, t),
        lambda c, t: c.put("new", 1, t, replace=True),
        lambda c, t: c.get_or_put("new", lambda: 1, t),
        lambda c, t: c.incr("new", initial=1, time_to_expire=t),
    ],
)
def test_a_longer_life_than_the_rule_is_refused_with_its_name(
    clock: FakeClock, write: Callable[[Client, Any], Any], time_to_expire: float | None
) -> None:
    client = Client("memory://", clock=clock, max_age_days=7)
    store = wrap(client, CountingStore)
    with pytest.raises(ConfigError, match=r"max_age_days=7.*lifecycle apply --max-age"):
        write(client, time_to_expire)
    assert [request for request in store.requests if request.startswith("PUT")] == []
    assert client.put("new", 1, 7 * DAY)
    assert [request for request in store.requests if request.startswith("PUT")] == ["PUT if absent"]


def test_what_moves_the_deadline_is_refused_too(clock: FakeClock) -> None:
    client = Client("memory://", clock=clock, max_age_days=7)
    client.put("k", 1)
    for call in (
        lambda: client.touch("k", None),
        lambda: client.persist("k"),
        lambda: client.expire_at("k", clock.time() + 8 * DAY),
    ):
        with pytest.raises(ConfigError, match="max_age_days"):
            call()
    assert client.ttl("k") == 3600
    with pytest.raises(ConfigError, match="max_age_days"):
        client.put_file("k", io.BytesIO(bytes(9 << 20)), None, replace=True)
    with pytest.raises(PartialFailure, match="max_age_days"):
        client.put_many({"a": 1}, None)


# Rules


def test_rules_by_class() -> None:
    made = rules_of(tags=True)
    assert [rule["Expiration"]["Days"] for rule in made[:-1]] == list(CLASSES_DAYS)
    assert set(prefixes(made)) == {"p/"}
    assert made[0] == {
        "ID": "cloudcached:p:ttl-1",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "cc-ttl", "Value": "1"}]}},
        "Expiration": {"Days": 1},
    }
    assert "AbortIncompleteMultipartUpload" in made[-1]
    assert len(rules_of(tags=True, versioned=True)) == 7 + 256


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/p", "s3://bucket/a/b"])
def test_rules_that_remove_without_a_tag_name_the_entries_alone(url: str) -> None:
    names = Names(config_of(url).prefix)
    for given in ({"max_age_days": 5}, {"max_age_days": 5, "versioned": True}, {"tags": True, "versioned": True}):
        made = rules_of(url, **given)
        named = [prefix for rule, prefix in zip(made, prefixes(made), strict=True) if "Tag" not in str(rule)]
        assert len(named) == 256

        def meant(name: str, named: list[str] = named) -> bool:
            return any(f"{names.root}{name}".startswith(prefix) for prefix in named)

        assert all(meant(names.object_key(f"key {number}")[0][len(names.root) :]) for number in range(500))
        for foreign in ("_cloudcached/lock/k", "data/x", "cafe/00/x", "0", "f.txt", "00", "ab"):
            assert not meant(foreign)


def test_the_top_of_a_bucket() -> None:
    made = rules_of("s3://bucket", tags=True)
    assert [rule["Filter"] for rule in made] == [
        {"Tag": {"Key": "cc-ttl", "Value": str(days)}} for days in CLASSES_DAYS
    ]


def test_names_of_rules_fit() -> None:
    made = rules_of(f"s3://bucket/{'p' * 500}", tags=True, max_age_days=3)
    assert len({rule["ID"] for rule in made}) == len(made)
    assert max(len(rule["ID"]) for rule in made) <= 255
    assert all(map(owner("p" * 500), made))
    assert not any(map(owner("p" * 499), made))


@pytest.mark.parametrize(
    ("url", "given", "text"),
    [
        ("s3://bucket/p", {}, "no kind of rule was chosen"),
        ("s3://bucket--use1-az5--x-s3/p", {"tags": True}, "S3 Express does not support tags"),
    ],
)
def test_rules_that_cannot_be(url: str, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        rules_of(url, **given)


def test_memory_has_no_rules() -> None:
    with pytest.raises(ConfigError, match="not a bucket"):
        Lifecycle(config_of("memory://"))


# Merging


def test_others_stay_as_they_are_and_where_they_are() -> None:
    plan = merge({"Rules": OTHERS}, rules_of(tags=True), "p")
    assert plan.configuration["Rules"][: len(OTHERS)] == OTHERS == list(plan.others)
    assert len(plan.add) == 8
    again = merge(plan.configuration, rules_of(tags=True), "p")
    assert not again.changes
    assert again.configuration == plan.configuration
    by_age = merge(plan.configuration, rules_of(max_age_days=9), "p")
    assert (len(by_age.add), len(by_age.remove), len(by_age.others)) == (256, 8, len(OTHERS))
    changed = merge(by_age.configuration, rules_of(max_age_days=8), "p")
    assert (len(changed.change), len(changed.add), len(changed.same)) == (256, 0, 0)
    assert merge(changed.configuration, (), "p").configuration == {"Rules": OTHERS}


def test_what_belongs_to_the_configuration_beside_its_rules_is_kept() -> None:
    more = {"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}
    assert merge({"Rules": [], **more}, rules_of(tags=True), "p").configuration.items() >= more.items()


def test_rules_of_the_old_form_are_written_as_what_they_mean() -> None:
    plan = merge({"Rules": [OLD]}, rules_of(tags=True), "p")
    assert plan.rewritten == ("old",)
    assert plan.configuration["Rules"][0] == {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "old/"},
        "Expiration": {"Days": 3},
    }
    assert merge({"Rules": [OLD]}, (), "p").configuration == {"Rules": [OLD]}


def test_more_rules_than_s3_allows_are_refused() -> None:
    others = [{**OTHERS[0], "ID": f"other-{number}"} for number in range(745)]
    with pytest.raises(ConfigError, match=r"745 other lifecycle rules, and this cache needs 256; S3 allows 1,000"):
        merge({"Rules": others}, rules_of(max_age_days=3), "p")
    assert len(merge({"Rules": others[1:]}, rules_of(max_age_days=3), "p").configuration["Rules"]) == 1000


# In a bucket


def put_rules(server: Any, found: list[dict[str, Any]]) -> None:
    server.client().put_bucket_lifecycle_configuration(Bucket=server.bucket, LifecycleConfiguration={"Rules": found})


def test_apply_and_remove_leave_others_alone(server: Any, s3_url: str) -> None:
    others = [rule for rule in OTHERS if rule["ID"] in ("logs", "cloudcached:p:q:ttl-1")]
    put_rules(server, others)
    lifecycle = Lifecycle(config_of(s3_url))
    try:
        assert lifecycle.ours() == ()
        assert len(lifecycle.plan(tags=True, max_age_days=None).add) == 8
        assert lifecycle.ours() == ()
        assert len(lifecycle.apply(tags=True, max_age_days=None).add) == 8
        assert not lifecycle.apply(tags=True, max_age_days=None).changes
        assert len(lifecycle.apply(tags=False, max_age_days=4).remove) == 8
        assert len(lifecycle.ours()) == 256
        assert len(lifecycle.remove().remove) == 256
        assert not lifecycle.remove().changes
        assert sorted(rule["ID"] for rule in lifecycle._read()["Rules"]) == sorted(rule["ID"] for rule in others)
    finally:
        server.client().delete_bucket_lifecycle(Bucket=server.bucket)
    assert len(lifecycle.apply(tags=True, max_age_days=None).add) == 8  # where there is no configuration at all
    assert lifecycle.remove().changes
    assert lifecycle._read() == {"Rules": []}


def test_a_store_that_keeps_other_rules_is_told(server: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = Lifecycle(config_of(s3_url))
    monkeypatch.setattr(lifecycle._store, "put_lifecycle", lambda configuration, timeout: None)
    with pytest.raises(StoreRefused, match="keeps lifecycle rules other than"):
        lifecycle.apply(tags=True, max_age_days=None)


# The commands


@pytest.fixture
def run(s3_url: str) -> Callable[..., Any]:
    """Give what runs a lifecycle command on the cache."""

    def run(verb: str, *arguments: str, **options: Any) -> Any:
        return CliRunner().invoke(command_line, ["lifecycle", verb, s3_url, *arguments], **options)

    return run


def test_the_commands(server: Any, s3_url: str, run: Callable[..., Any]) -> None:
    prefix = s3_url.rpartition("/")[2]
    put_rules(server, OTHERS[:1])
    try:
        assert run("show").stdout.startswith(f"there are no rules for {s3_url}")
        assert run("plan").exit_code == 2
        planned = run("plan", "--max-age", "9")
        assert f"cloudcached:{prefix}:entries-00 and 255 like it" in planned.stdout
        assert planned.stdout.endswith("256 to add, 0 to change, 0 to remove; 1 other rule stays\n")
        refused = run("apply", "--tags", input="n\n")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert run("apply", "--tags", "--dry-run").stdout.endswith(
            "8 to add, 0 to change, 0 to remove; 1 other rule stays\n"
        )
        assert json.loads(run("show", "--json").stdout) == {"rules": [], "advice": []}
        assert run("apply", "--tags", "--yes").stdout.endswith("8 added, 0 changed, 0 removed; 1 other rule stays\n")
        assert run("apply", "--tags", "--yes").stdout.endswith("nothing to do; 1 other rule stays\n")
        assert json.loads(run("apply", "--tags", "--yes", "--json").stdout)["done"] is False
        shown = run("show").stdout.splitlines()
        assert any(line.startswith(f"=  cloudcached:{prefix}:ttl-7 ") for line in shown)
        removed = json.loads(run("remove", "--yes", "--json").stdout)
        assert (len(removed["remove"]), removed["done"], [rule["ID"] for rule in removed["others"]]) == (
            8,
            True,
            ["logs"],
        )
    finally:
        server.client().delete_bucket_lifecycle(Bucket=server.bucket)


@pytest.mark.parametrize(
    ("options", "given", "advice"),
    [
        (
            {},
            {"max_age_days": 5},
            ["rules remove entries after 5 days, but max_age_days is not set: longer-lived entries end early"],
        ),
        ({"max_age_days": 9}, {"max_age_days": 5}, ["rules remove entries after 5 days, but max_age_days is 9"]),
        ({"max_age_days": 5}, {"max_age_days": 5}, []),
        ({"max_age_days": 5}, {"tags": True}, ["max_age_days is 5, but no rule removes entries by age"]),
        ({"expiry_tags": True}, {"max_age_days": 5}, ["rules remove entries after", "entries carry tags"]),
        ({"expiry_tags": True}, {"tags": True}, []),
    ],
)
def test_options_that_do_not_fit_the_rules_are_told(
    options: dict[str, Any], given: dict[str, Any], advice: list[str]
) -> None:
    told = list(advice_on(config_of(**options), rules_of(**given)))
    assert len(told) == len(advice)
    assert all(text.startswith(begin) for text, begin in zip(told, advice, strict=True))
