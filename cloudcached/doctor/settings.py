"""Probes of the bucket's settings, and of the settings that the store supports."""

from __future__ import annotations

from .probe import Outcome, no, probe, refused, yes
from .site import Site


@probe("versioning", "Versioning is off")
def versioning(site: Site) -> Outcome:
    """Find out whether the bucket keeps overwritten entries."""
    reply = site.ask("get_bucket_versioning")
    if not reply.ok:
        return refused(
            reply, "note", "s3:GetBucketVersioning", "old versions may be kept, and billed: this is not known"
        )
    status = reply.data.get("Status", "")
    site.versioned = bool(status)
    if status == "Enabled":
        advice = (
            "each overwrite and each removal leaves an old version, which is billed until it is removed: switch"
            " versioning off, or let a lifecycle rule expire noncurrent versions after a day"
        )
        return no("it is on", "warning", advice)
    return yes("it is suspended" if status else "it is off")


@probe("tags", "Tags on PUT")
def tags(site: Site) -> Outcome:
    """Test whether objects can carry tags, by which lifecycle rules can distinguish entries."""
    advice = "without tags, lifecycle rules can only go by age, for the whole prefix"
    name = site.name("tagged")
    reply = site.ask("put_object", Key=name, Body=b"tagged", Tagging="cloudcached=doctor")
    if not reply.ok:
        return refused(reply, "note", "s3:PutObjectTagging", advice)
    reply = site.ask("get_object_tagging", Key=name)
    if not reply.ok:
        return refused(reply, "note", "s3:GetObjectTagging", advice)
    if reply.data.get("TagSet") == [{"Key": "cloudcached", "Value": "doctor"}]:
        return yes("stored")
    return no("dropped", "note", advice)


@probe("lifecycle", "The lifecycle configuration can be read")
def lifecycle(site: Site) -> Outcome:
    """Find out how many lifecycle rules the bucket has."""
    reply = site.ask("get_bucket_lifecycle_configuration")
    if reply.ok:
        return yes(f"{len(reply.data.get('Rules', ()))} rules")
    if reply.code == "NoSuchLifecycleConfiguration":
        return yes("no rules")
    advice = "without lifecycle rules, expired entries stay until they are overwritten or purged"
    return refused(reply, "note", "s3:GetLifecycleConfiguration", advice)


@probe("encryption", "No KMS key by default")
def encryption(site: Site) -> Outcome:
    """Find out how the bucket encrypts objects by default."""
    reply = site.ask("get_bucket_encryption")
    if reply.code == "ServerSideEncryptionConfigurationNotFoundError":
        return yes("no default encryption")
    if not reply.ok:
        return refused(reply, "note", "s3:GetEncryptionConfiguration", "KMS may be in use: this is not known")
    rules = reply.data.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    used = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules]
    if not any("kms" in algorithm for algorithm in used):
        return yes(", ".join(filter(None, used)) or "no default encryption")
    advice = (
        "each request calls KMS too, which costs money and has a rate limit: switch S3 Bucket Keys on;"
        " ETags are not MD5s of bodies"
    )
    return no(", ".join(used), "warning" if not any(rule.get("BucketKeyEnabled") for rule in rules) else "note", advice)
