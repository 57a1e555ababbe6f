"""Values that the store cannot read, and stores that are asked to encrypt what they keep."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator

import pytest

from cloudcached import MISSING, Client, ConfigError
from cloudcached.stores.port import Write

VALUES = ["text", b"bytes", 7, None, {"a": [1, 2]}, "compressible " * 1000]
SECRET = "0123456789abcdef0123456789abcdef"


def client(url: str, **options: object) -> Client:
    return Client(url, **{"signing_key": "signing", "encryption_key": SECRET, **options})


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", ["key", "long" * 400])
def test_values_come_back(any_url: str, key: str, value: object) -> None:
    cache = client(any_url)
    cache.put(key, value)
    assert cache.get(key) == value
    assert list(cache.keys()) == [key]


def test_the_store_sees_no_plaintext(any_url: str) -> None:
    cache = client(any_url, compress_min_bytes=None)
    cache.put("key", "a secret text")
    info = cache.info("key")
    assert info is not None
    assert info.encoding == "plain"
    found = cache.engine.store.get(info.object_key, timeout=5)
    assert found.head.metadata["cc-encoding"].startswith("plain+aes-gcm:")
    assert b"secret" not in bytes(found.read())


def test_equal_values_have_different_bodies(any_url: str) -> None:
    cache = client(any_url)
    etags = set()
    for _ in range(3):
        cache.put("key", "same", replace=True)
        info = cache.info("key")
        assert info is not None
        etags.add(info.etag)
    assert len(etags) == 3


def test_verbs_that_rewrite_keep_the_value(any_url: str) -> None:
    cache = client(any_url)
    cache.put("key", {"a": 1}, 10)
    assert cache.touch("key", 1000)
    assert cache.persist("key")
    assert cache.get("key") == {"a": 1}
    assert cache.ttl("key") is None
    cache.put("count", 1)
    assert cache.incr("count") == 2


def test_old_keys_decrypt_and_the_first_encrypts(any_url: str) -> None:
    client(any_url, encryption_key="old").put("old", 1)
    both = client(any_url, encryption_key=["new", "old"])
    assert both.get("old") == 1
    both.put("new", 2)
    assert client(any_url, encryption_key="new").get("new") == 2
    assert client(any_url, encryption_key="new").get("old") is None


@pytest.mark.parametrize("key", [None, "another"])
def test_an_entry_that_cannot_be_decrypted_is_a_counted_miss(any_url: str, key: str | None) -> None:
    client(any_url).put("key", 1)
    other = client(any_url, encryption_key=key)
    assert other.get("key", MISSING) is MISSING
    assert refusals(other) == {"refused.encryption": 1}
    assert other.put("key", 2), "a refused entry does not block its key"
    assert other.get("key") == 2


def test_plain_entries_stay_readable_when_encryption_is_switched_on(any_url: str) -> None:
    client(any_url, encryption_key=None).put("key", "plain")
    assert client(any_url).get("key") == "plain"


def test_unsigned_but_encrypted_data_that_was_changed_is_refused(any_url: str) -> None:
    cache = client(any_url, signing_key=None)
    cache.put("key", "value")
    place = cache.engine.place("key")
    codec = client(any_url, signing_key=None, encryption_key=None).engine.codec
    found = cache.engine.store.get(place.object_key, timeout=5)
    metadata, body = dict(found.head.metadata), bytearray(found.read())
    body[0] ^= 1
    # Whoever can write can make a new plain seal, but not a new tag of the cipher.
    meta = codec.check(place.object_key, metadata, len(body))
    body[-32:] = codec._signer.seal(meta.nonce, memoryview(body)[:-32])
    cache.engine.store.put(Write(place.object_key, bytes(body), metadata), timeout=5)
    assert cache.get("key", MISSING) is MISSING
    assert refusals(cache) == {"refused.encryption": 1}


def test_without_the_extra_the_option_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'cloudcached\[encryption\]'"):
        Client("memory://", encryption_key="key")


def test_keys_do_not_show_in_a_repr() -> None:
    cache = client("memory://")
    assert SECRET not in repr(cache._config)
    assert "signing'" not in repr(cache._config)


@pytest.fixture
def headers() -> Iterator[list[dict[str, str]]]:
    """The headers of each PUT; the first is the server's address."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("ETag", '"random"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen.append({"endpoint": f"http://127.0.0.1:{server.server_port}"})
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("transport", ["boto3", "wire"])
def test_server_side_encryption_is_asked_for(headers: list[dict[str, str]], transport: str) -> None:
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    cache = Client(
        "s3://bucket/prefix",
        transport=transport,
        sse={"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-id"},
        s3={"endpoint_url": headers[0]["endpoint"], **credentials},
    )
    cache.put("key", 1, replace=True)
    cache.close()
    assert headers[1]["x-amz-server-side-encryption"] == "aws:kms"
    assert headers[1]["x-amz-server-side-encryption-aws-kms-key-id"] == "key-id"


@pytest.mark.parametrize("sse", [{"SSEKMSKeyId": "key"}, {"Unknown": "x"}, "aws:kms", {"ServerSideEncryption": ""}])
def test_bad_settings_are_refused(sse: object) -> None:
    with pytest.raises(ConfigError, match="sse"):
        Client("s3://bucket", sse=sse)


def refusals(client: Client) -> dict[str, int]:
    """Return the counts of what was refused."""
    return {name: count for name, count in client.stats().items() if name.startswith("refused.")}
