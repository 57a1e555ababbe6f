"""The stores and caches that are compared: each puts bytes under a key and gets them back.

Those that are not installed are left out (the dependency group ``bench``, Debian's redis-server and memcached). Two are
other people's caches on S3: flask-caching-s3 is measured by its own code, which stores text; django-s3-express-cache
needs Python 3.13 and an Express bucket, so the requests and the encoding of its version 0.2.0 are imitated.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from cloudcached import Client

from .common import BUCKET, MIB
from .raw import Raw
from .servers import memcached, redis

NEAR = {"max_bytes": 512 * MIB, "max_age": 3600}
#: Seconds; enough for the largest values on a busy machine.
TIMEOUT_S = 60
PACKAGES = (
    *("obstore", "boto3", "awscrt", "django", "flask", "flask-caching", "diskcache", "redis", "pymemcache"),
    "flask-caching-s3",
)
#: Other caches on S3.
EXPRESS, FLASK_S3 = "django-s3-express-cache's way", "flask-caching-s3"


@dataclass(frozen=True)
class Subject:
    """A store or cache to measure."""

    name: str
    get: Callable[[str], Any]
    put: Callable[[str, Any], object]
    #: Whether it sends its calls to S3.
    asks_s3: bool = True
    #: The largest value that it can handle, or can handle in reasonable time.
    max_bytes: int = 64 * MIB
    #: Turns bytes into the value that it is given.
    value: Callable[[bytes], Any] = bytes


def raw_http(s3: Any) -> Subject:
    """Return raw HTTP requests, which are prepared and signed once, and then only sent."""
    raw = Raw(s3)
    gets: dict[str, Callable[[], object]] = {}
    puts: dict[str, tuple[bytes, Callable[[], object]]] = {}

    def get(key: str) -> Any:
        if key not in gets:
            gets[key] = raw.get(f"raw/{key}")
        return gets[key]()

    def put(key: str, value: bytes) -> object:
        if key not in puts or puts[key][0] is not value:
            puts[key] = value, raw.put(f"raw/{key}", value)
        return puts[key][1]()

    return Subject("raw HTTP", get, put)


def bare_obstore(endpoint: str, *, metadata: bool = False) -> Subject:
    """Return obstore, a native client, with the fewest possible settings; *metadata* is read too if it is asked for."""
    import obstore  # noqa: PLC0415 - imported only if it is measured
    from obstore.store import S3Store  # noqa: PLC0415

    store = S3Store(
        BUCKET,
        config={
            "endpoint": endpoint,
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
            "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        },
        client_options={"allow_http": True, "timeout": "60s"},
        retry_config={"max_retries": 0},
    )

    def get(key: str) -> Any:
        result = obstore.get(store, key)
        return (result.attributes, result.meta, bytes(result.bytes())) if metadata else bytes(result.bytes())

    return Subject("obstore", get, lambda key, value: obstore.put(store, key, value, use_multipart=False))


def boto3_alone(s3: Any) -> Subject:
    """Return a boto3 client."""
    return Subject(
        "boto3",
        lambda key: s3.get_object(Bucket=BUCKET, Key=f"boto3/{key}")["Body"].read(),
        lambda key, value: s3.put_object(Bucket=BUCKET, Key=f"boto3/{key}", Body=value),
    )


def crt(endpoint: str) -> Subject:
    """Return the S3 client of AWS's common runtime."""
    from awscrt import auth, http, s3  # noqa: PLC0415
    from awscrt import io as crt_io  # noqa: PLC0415

    host = urlsplit(endpoint).netloc
    given = auth.AwsCredentialsProvider.new_static(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN")
    )
    client = s3.S3Client(
        bootstrap=crt_io.ClientBootstrap.get_or_create_static_default(),
        region="us-east-1",
        tls_mode=None if endpoint.startswith("https:") else s3.S3RequestTlsMode.DISABLED,
        signing_config=s3.create_default_s3_signing_config(region="us-east-1", credential_provider=given),
    )

    def ask(method: str, key: str, body: bytes | None = None) -> bytes:
        headers = http.HttpHeaders([("Host", host)])
        if body is not None:
            headers.add("Content-Length", str(len(body)))
        request = http.HttpRequest(
            method, f"/{BUCKET}/awscrt/{key}", headers, None if body is None else io.BytesIO(body)
        )
        kind = s3.S3RequestType.GET_OBJECT if body is None else s3.S3RequestType.PUT_OBJECT
        parts: list[bytes] = []
        made = client.make_request(type=kind, request=request, on_body=lambda chunk, **_: parts.append(chunk))
        made.finished_future.result(60)
        return b"".join(parts)

    return Subject("awscrt", lambda key: ask("GET", key), lambda key, value: ask("PUT", key, value))


def express_way(s3: Any) -> Subject:
    """Return an imitation of django-s3-express-cache 0.2.0: boto3, a 20-byte header, a pickle, read in 20-byte chunks."""
    header = struct.Struct("QHHQ")

    def put(key: str, value: bytes) -> object:
        content = header.pack(int(time.time_ns() + 3600e9), 1, 0, 0) + pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return s3.put_object(Bucket=BUCKET, Key=f"1-days/{key}_1", Body=content)

    def get(key: str) -> Any:
        answer, found = s3.get_object(Bucket=BUCKET, Key=f"1-days/{key}_1"), bytearray()
        for number, chunk in enumerate(answer["Body"].iter_chunks(chunk_size=header.size)):
            if number:
                found.extend(chunk)
            elif time.time_ns() > header.unpack(chunk)[0]:
                return None
        return pickle.loads(bytes(found))  # noqa: S301 - our own bytes

    return Subject(EXPRESS, get, put, max_bytes=MIB)


def flask_caching_s3() -> Subject:
    """Return the S3Cache of flask-caching-s3."""
    from flask_caching_s3 import S3Cache  # noqa: PLC0415

    cache = S3Cache(BUCKET, key_prefix="flask-caching-s3/")
    return Subject(FLASK_S3, cache.get, cache.set, value=lambda data: data.hex()[: len(data)])


def ours() -> Iterator[Subject]:
    """Yield CloudCached as ``Client``, in Django, in Flask, and with a near tier; Django must be configured first."""
    options: dict[str, Any] = {"signing_key": "benchmark", "timeout": TIMEOUT_S}
    core = Client(f"s3://{BUCKET}/core", **options)
    near = Client(f"s3://{BUCKET}/near", near=NEAR, **options)
    yield Subject("CloudCached", core.get, lambda key, value: core.put(key, value, replace=True))
    yield django_cache("CloudCached, Django", "ours")
    yield flask_cache()
    yield Subject("CloudCached, near", near.get, lambda key, value: near.put(key, value, replace=True))


def django_cache(name: str, alias: str, max_bytes: int = 64 * MIB, *, asks_s3: bool = True) -> Subject:
    """Return one of Django's caches, used as a site uses it."""
    from django.core.cache import caches  # noqa: PLC0415

    def get(key: str) -> Any:
        return caches[alias].get(key)  # each thread has its own cache object

    def put(key: str, value: bytes) -> None:
        caches[alias].set(key, value, 3600)

    return Subject(name, get, put, asks_s3, max_bytes)


def flask_cache() -> Subject:
    """Return a Flask site's cache; each thread gets an app context, as a request has."""
    from flask import Flask  # noqa: PLC0415
    from flask_caching import Cache  # noqa: PLC0415

    app = Flask("benchmark")
    app.config.update(
        SECRET_KEY="benchmark" * 6,
        CACHE_TYPE="cloudcached_flask.S3Cache",
        CACHE_S3_URL=f"s3://{BUCKET}/flask",
        CACHE_OPTIONS={"timeout": TIMEOUT_S},
    )
    cache, entered = Cache(app), threading.local()

    def within() -> Cache:
        if not hasattr(entered, "context"):
            entered.context = app.app_context()
            entered.context.push()
        return cache

    return Subject(
        "CloudCached, Flask",
        lambda key: within().get(key),
        lambda key, value: within().set(key, value, timeout=3600),
    )


def configure_django(folder: str, redis_port: int | None = None, memcached_port: int | None = None) -> None:
    """Configure Django with all its caches that are available; only once per process."""
    import django  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    built_in = "django.core.cache.backends"
    caches: dict[str, dict[str, Any]] = {
        "default": {"BACKEND": f"{built_in}.locmem.LocMemCache"},
        "file": {"BACKEND": f"{built_in}.filebased.FileBasedCache", "LOCATION": f"{folder}/files"},
        "database": {"BACKEND": f"{built_in}.db.DatabaseCache", "LOCATION": "cache"},
        "ours": {
            "BACKEND": "cloudcached_django.S3Cache",
            "LOCATION": f"s3://{BUCKET}/django",
            "OPTIONS": {"timeout": TIMEOUT_S},
        },
    }
    if redis_port:
        caches["redis"] = {"BACKEND": f"{built_in}.redis.RedisCache", "LOCATION": f"redis://127.0.0.1:{redis_port}"}
    if memcached_port:
        where = f"127.0.0.1:{memcached_port}"
        caches["memcached"] = {"BACKEND": f"{built_in}.memcached.PyMemcacheCache", "LOCATION": where}
    settings.configure(
        SECRET_KEY="benchmark" * 6,
        CACHES=caches,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/cache.sqlite3"}},
    )
    django.setup()
    call_command("createcachetable", verbosity=0)


def installed(make: Callable[[], Subject]) -> Iterator[Subject]:
    """Yield the subject that *make* returns, or nothing if a package is not installed."""
    try:
        yield make()
    except ModuleNotFoundError as error:
        warnings.warn(f"left out: {error}", stacklevel=2)


@contextmanager
def all_subjects(s3: Any) -> Iterator[list[Subject]]:
    """Yield all subjects that are available: first those that use S3, then the others."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        redis_port = stack.enter_context(redis(Path(folder))) if find_spec("redis") else None
        memcached_port = stack.enter_context(memcached()) if find_spec("pymemcache") else None
        configure_django(folder, redis_port, memcached_port)
        endpoint = s3.meta.endpoint_url
        subjects = [
            raw_http(s3),
            *installed(lambda: bare_obstore(endpoint)),
            *ours(),
            *installed(lambda: crt(endpoint)),
            boto3_alone(s3),
            express_way(s3),
            *installed(flask_caching_s3),
        ]
        if redis_port:
            subjects.append(django_cache("redis, Django", "redis", asks_s3=False))
        if memcached_port:
            subjects.append(django_cache("memcached, Django", "memcached", asks_s3=False))
        subjects += [
            django_cache("database (SQLite), Django", "database", 8 * MIB, asks_s3=False),
            django_cache("file, Django", "file", asks_s3=False),
            django_cache("locmem, Django", "default", asks_s3=False),
            *installed(lambda: disk(f"{folder}/diskcache", stack)),
        ]
        yield subjects


def disk(folder: str, stack: ExitStack) -> Subject:
    """Return diskcache, with a size limit of 4 GiB that is never reached."""
    import diskcache  # noqa: PLC0415

    cache = stack.enter_context(diskcache.Cache(folder, size_limit=4 * 2**30))
    return Subject("diskcache", cache.get, lambda key, value: cache.set(key, value, 3600), asks_s3=False)
