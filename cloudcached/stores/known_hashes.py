"""Signatures of parts whose SHA-256 is known: botocore would read and hash each of them once more."""

from __future__ import annotations

from typing import Any, Final

#: Our name beside botocore's for S3's ordinary signatures, which are all that is replaced.
_NAME: Final = "cloudcached-s3v4"
_ORDINARY: Final = ("v4", "s3v4")


def sign_known_hashes(client: Any) -> None:
    """Let *client* sign a part by the hash that its body carries; whatever else is botocore's, as before."""
    from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth  # noqa: PLC0415 - takes its time

    class KnownHash(S3SigV4Auth):
        def payload(self, request: Any) -> Any:
            return getattr(request.data, "sha256", None) or super().payload(request)

    def choose(signature_version: Any, **_: Any) -> str | None:
        return _NAME if signature_version in _ORDINARY else None

    AUTH_TYPE_MAPS.setdefault(_NAME, KnownHash)
    client.meta.events.register("choose-signer.s3.UploadPart", choose)
