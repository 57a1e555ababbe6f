"""The policy that ``cloudcached iam`` prints: least, and enough."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from click.testing import CliRunner

from cloudcached import Client, ConfigError
from cloudcached.cli import command_line
from cloudcached.config import Config
from cloudcached.maintenance.iam import FEATURES, features_of, policy

KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234"


def policy_of(url: str, *features: str, **options: Any) -> list[dict[str, Any]]:
    return policy(Config.parse(url, options), features)["Statement"]


def test_reading() -> None:
    assert policy_of("s3://bucket/p", "read") == [
        {"Sid": "Entries", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::bucket/p/*"},
        {
            "Sid": "Listing",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": "arn:aws:s3:::bucket",
            "Condition": {"StringLike": {"s3:prefix": "p/*"}},
        },
    ]


def test_the_top_of_a_bucket_has_no_prefix() -> None:
    objects, listing = policy_of("s3://bucket", "read", "write")
    assert objects["Resource"] == "arn:aws:s3:::bucket/*"
    assert objects["Action"] == ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    assert "Condition" not in listing


@pytest.mark.parametrize(
    ("feature", "actions"),
    [
        ("tags", {"s3:PutObjectTagging"}),
        ("multipart", {"s3:AbortMultipartUpload"}),
        ("lifecycle", {"s3:GetBucketVersioning", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"}),
        ("kms", {"kms:Decrypt", "kms:GenerateDataKey"}),
        ("ceph", {"s3:DeleteObject"}),
    ],
)
def test_what_a_feature_adds(feature: str, actions: set[str]) -> None:
    def rights(*features: str) -> set[tuple[str, str]]:
        made = policy_of("s3://bucket/p", *features)
        return {(action, statement["Resource"]) for statement in made for action in statement["Action"]}

    added = rights("read", "write", feature) - rights("read", "write")
    assert {action for action, _ in added} == actions


@pytest.mark.parametrize(
    ("sse", "resource"),
    [
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}, KEY),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "1234"}, "arn:aws:kms:*:*:key/1234"),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/cache"}, "*"),
        ({"ServerSideEncryption": "aws:kms"}, "*"),
    ],
)
def test_the_right_to_a_key(sse: dict[str, str], resource: str) -> None:
    config = Config.parse("s3://bucket/p", {"sse": sse})
    assert features_of(config) == ("read", "write", "multipart", "kms")
    statement = policy(config, ("read", "kms"))["Statement"][-1]
    assert (statement["Action"], statement["Resource"]) == (["kms:Decrypt"], resource)
    assert ("Condition" in statement) == (resource == "*")


@pytest.mark.parametrize(
    ("url", "options", "resource"),
    [
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint/ap/p", {}, "arn:aws:s3:eu-west-1:1:accesspoint/ap/p/object/*"),
        ("s3://bucket/p", {"s3": {"region_name": "cn-north-1"}}, "arn:aws-cn:s3:::bucket/p/*"),
        ("s3://bucket/p", {"s3": {"region_name": "us-gov-west-1"}}, "arn:aws-us-gov:s3:::bucket/p/*"),
    ],
)
def test_what_a_bucket_is_called(url: str, options: dict[str, Any], resource: str) -> None:
    config = Config.parse(url, options)
    expected = f"{config.bucket}/object/{config.prefix}/*" if config.bucket.startswith("arn:") else resource
    assert policy(config, ("read",))["Statement"][0]["Resource"] == expected


def test_s3_express_opens_sessions() -> None:
    url = "s3://bucket--use1-az5--x-s3/p"
    (session,) = policy_of(url, "read", "write")
    assert (session["Action"], "Condition" in session) == (["s3express:CreateSession"], False)
    session, bucket = policy_of(url, "read", "lifecycle")
    assert session["Condition"] == {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}
    assert bucket["Action"] == ["s3express:GetLifecycleConfiguration", "s3express:PutLifecycleConfiguration"]


def test_what_a_client_uses() -> None:
    assert features_of(Config.parse("s3://bucket", {"read_only": True, "expiry_tags": True})) == ("read",)
    assert features_of(Config.parse("s3://bucket", {"expiry_tags": True})) == ("read", "write", "multipart", "tags")


@pytest.mark.parametrize(
    ("url", "features", "text"),
    [
        ("s3://bucket", ("read", "fly"), "unknown feature 'fly'; choose from read"),
        ("s3://bucket", (), "given"),
        ("memory://", ("read",), "not a bucket"),
    ],
)
def test_what_is_no_policy(url: str, features: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        policy(Config.parse(url, {}), features)


def test_the_command() -> None:
    result = CliRunner().invoke(command_line, ["iam", "s3://bucket/p"])
    assert (result.exit_code, json.loads(result.stdout)) == (
        0,
        policy(Config.parse("s3://bucket/p", {}), ("read", "write", "multipart")),
    )
    named = CliRunner().invoke(command_line, ["iam", "s3://bucket/p", "--features", "read, lifecycle"])
    assert "s3:PutLifecycleConfiguration" in named.stdout
    assert CliRunner().invoke(command_line, ["iam", "s3://bucket/p", "--features", "fly"]).exit_code == 2
    assert all(feature in CliRunner().invoke(command_line, ["iam", "--help"]).stdout for feature in FEATURES)


@pytest.mark.real
def test_somebody_with_the_policy_can_do_what_it_says_and_no_more(server: Any, s3_url: str) -> None:
    """Anybody is given the rights by a bucket policy, and requests without a signature try them."""
    owner, bucket, prefix = server.client(), server.bucket, s3_url.rpartition("/")[2]
    other = f"{prefix}-other"
    for place in (prefix, other):
        owner.put_object(Bucket=bucket, Key=f"{place}/00/k", Body=b"v")
    anybody = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=BotoConfig(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
    )

    def tries(place: str) -> list[int]:
        """Return the answers to GET, GET of what is missing, LIST, PUT, DELETE and DeleteObjects."""
        name = {"Bucket": bucket, "Key": f"{place}/00/k"}
        return [
            status_of(anybody.get_object, **name),
            status_of(anybody.get_object, Bucket=bucket, Key=f"{place}/00/missing"),
            status_of(anybody.list_objects_v2, Bucket=bucket, Prefix=f"{place}/"),
            status_of(anybody.put_object, **{**name, "Key": f"{place}/00/new"}, Body=b"v"),
            status_of(anybody.delete_object, Bucket=bucket, Key=f"{place}/00/new"),
        ]

    try:
        for features, wanted in (
            (("read",), [200, 403, 200, 403, 403]),
            (("read", "ceph"), [200, 404, 200, 403, 403]),
            (("read", "write", "ceph"), [200, 404, 200, 200, 204]),
        ):
            granted = policy(Config.parse(s3_url, {}), features)
            for statement in granted["Statement"]:
                statement["Principal"] = "*"
            owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps(granted))
            assert tries(prefix) == wanted
            assert [status for status in tries(other) if status != 404] == [403] * (5 - tries(other).count(404))
    finally:
        owner.delete_bucket_policy(Bucket=bucket)
        anybody.close()


def status_of(request: Any, **arguments: Any) -> int:
    """Return how the store answers."""
    try:
        return request(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def test_without_a_right_to_list_a_miss_is_an_error_that_says_so(s3_url: str) -> None:
    """Why reading needs it: the client takes no 403 for a miss. With it, nothing is there, and nothing is raised."""
    with Client(s3_url) as client:
        assert client.get("missing") is None
