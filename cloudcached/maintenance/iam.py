"""The minimal permissions that a cache needs, as an IAM policy.

Reading needs ``s3:ListBucket`` too: without it, S3 answers 403 for an object that does not exist, and a miss could not
be told from denied access. The permission is limited to the prefix; S3 compares the name of the missing object with
it. Ceph gateways do so only since 2026: without the feature ``ceph``, older ones answer every miss with 403.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from ..config import EXPRESS, Config
from ..entry.keys import Names
from ..errors import ConfigError

#: The features that a policy can allow, and what each one covers.
FEATURES: Final = {
    "read": "get, has, ttl, info, get_many, keys",
    "write": "all other methods of a client (put, delete, incr, lock, clear, ...), and purge",
    "tags": "the option expiry_tags",
    "multipart": "files and large values, which are uploaded in parts: to abort uploads that were not completed",
    "kms": "a bucket, or the option sse, that encrypts with a KMS key",
    "lifecycle": "`cloudcached lifecycle`",
    "doctor": "`cloudcached doctor`",
    "ceph": "a Ceph gateway: for misses, s3:ListBucket also without a prefix; for bulk removal, s3:DeleteObject on the bucket",
}
_OBJECTS: Final = {
    "read": ("s3:GetObject",),
    "write": ("s3:DeleteObject", "s3:PutObject"),
    "tags": ("s3:PutObjectTagging",),
    "multipart": ("s3:AbortMultipartUpload",),
    "doctor": ("s3:DeleteObjectVersion", "s3:GetObjectTagging", "s3:PutObjectTagging"),
}
_BUCKET: Final = {
    "lifecycle": ("s3:GetBucketVersioning", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"),
    "doctor": ("s3:GetBucketVersioning", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration"),
}
_LISTING: Final = {"read": ("s3:ListBucket",), "doctor": ("s3:ListBucketVersions",)}
_KMS: Final = {"read": "kms:Decrypt", "write": "kms:GenerateDataKey"}


def features_of(config: Config) -> tuple[str, ...]:
    """Return the features that a client with this configuration uses."""
    used = ["read"] if config.read_only else ["read", "write", "multipart"]
    if config.expiry_tags and not config.read_only:
        used.append("tags")
    if dict(config.sse).get("ServerSideEncryption", "").startswith("aws:kms"):
        used.append("kms")
    return tuple(used)


def policy(config: Config, features: Collection[str]) -> dict[str, Any]:
    """Return a policy that allows *features* on the entries of one cache, and nothing else.

    Raises ``ConfigError`` for a feature that is not one of ``FEATURES``, for no feature, and for ``memory://``.
    """
    unknown = sorted(set(features) - set(FEATURES))
    if unknown or not features:
        wrong = f"unknown feature {', '.join(map(repr, unknown))}" if unknown else "no feature was given"
        raise ConfigError(f"{wrong}; choose from {', '.join(FEATURES)}")
    if config.scheme != "s3":
        raise ConfigError(f"{config.url} is not a bucket; a policy is for s3://bucket/prefix")
    express = config.bucket.endswith(EXPRESS)
    statements = (_express if express else _general)(config, features)
    if "kms" in features:
        statements.append(_kms(config, features))
    return {"Version": "2012-10-17", "Statement": statements}


def _general(config: Config, features: Collection[str]) -> list[dict[str, Any]]:
    root = Names(config.prefix).root
    if config.bucket.startswith("arn:"):
        bucket, objects = config.bucket, f"{config.bucket}/object/{root}*"
    else:
        bucket = f"arn:{_partition(config)}:s3:::{config.bucket}"
        objects = f"{bucket}/{root}*"
    statements = [
        _allow("Entries", _actions(_OBJECTS, features), objects),
        _allow("Listing", _actions(_LISTING, features), bucket),
        _allow("Bucket", _actions(_BUCKET, features), bucket),
    ]
    if root:
        like = "StringLikeIfExists" if "ceph" in features else "StringLike"
        statements[1]["Condition"] = {like: {"s3:prefix": f"{root}*"}}
    if {"ceph", "write"} <= set(features):
        statements.append(_allow("Bulk", ["s3:DeleteObject"], bucket))
    return [statement for statement in statements if statement["Action"]]


def _express(config: Config, features: Collection[str]) -> list[dict[str, Any]]:
    """Return the statements for S3 Express: permission for a session, which covers the whole bucket."""
    bucket = f"arn:{_partition(config)}:s3express:*:*:bucket/{config.bucket}"
    session = _allow("Session", ["s3express:CreateSession"], bucket)
    if set(features) <= {"read", "kms", "lifecycle"}:
        session["Condition"] = {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}
    statements = [session]
    if "lifecycle" in features:
        actions = ["s3express:GetLifecycleConfiguration", "s3express:PutLifecycleConfiguration"]
        statements.append(_allow("Bucket", actions, bucket))
    return statements


def _kms(config: Config, features: Collection[str]) -> dict[str, Any]:
    """Return the permission to use the key that the option ``sse`` names, or else any key that S3 uses on our behalf."""
    actions = sorted(action for feature, action in _KMS.items() if feature in features)
    key = dict(config.sse).get("SSEKMSKeyId", "")
    if key.startswith("arn:") and ":alias/" not in key:
        return _allow("Key", actions, key)
    if key and "alias/" not in key:
        return _allow("Key", actions, f"arn:{_partition(config)}:kms:*:*:key/{key}")
    statement = _allow("Key", actions, "*")
    statement["Condition"] = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com"}}
    return statement


def _allow(name: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resource}


def _actions(table: Mapping[str, tuple[str, ...]], features: Collection[str]) -> list[str]:
    return sorted({action for feature in features for action in table.get(feature, ())})


def _partition(config: Config) -> str:
    region = dict(config.s3).get("region_name", "")
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
