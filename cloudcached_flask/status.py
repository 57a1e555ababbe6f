"""The status page as a blueprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from flask_caching import Cache

from cloudcached import Client, ConfigError, StoreError
from cloudcached.status import StatusPage

from .backend import S3Cache


def status_blueprint(
    cache: Cache | S3Cache | Mapping[str, Cache | S3Cache],
    *,
    allowed: Callable[[], object],
    name: str = "cloudcached_status",
    url_prefix: str = "/cache",
) -> Blueprint:
    """Return a blueprint with the status page at *url_prefix*.

    cache: the app's ``Cache``, or several by the names to show on the page. allowed: called in each request to decide
    whether it may see the page, for example ``lambda: current_user.is_authenticated and current_user.is_admin``; if the
    result is false, the answer is 403. Raises ``ConfigError`` at the first view if a cache is not an ``S3Cache``.
    **Cost:** no request; up to 10 LISTs when a visitor has the entries counted.
    """
    if not callable(allowed):
        raise ConfigError(
            "allowed is a function, called in each request, that returns whether it may see the status of the cache"
        )
    named = cache if isinstance(cache, Mapping) else {"cache": cache}
    page = StatusPage(lambda: {alias: _client(alias, one) for alias, one in named.items()})
    blueprint = Blueprint(name, __name__, url_prefix=url_prefix)

    @blueprint.before_request
    def refuse() -> None:
        if not allowed():
            abort(403)

    @blueprint.get("/")
    def status() -> Response:
        return Response(page.html, headers=dict(page.page_headers), mimetype="text/html")

    @blueprint.get("/data/")
    def data() -> Response:
        return _json(page.data())

    @blueprint.get("/contents/")
    def contents() -> Response:
        try:
            found = page.contents(request.args.get("cache", ""), request.headers.get("X-Requested-With"))
        except StoreError:
            return _json({}, 503)
        return _json(found or {}, 404 if found is None else 200)

    def _json(content: dict[str, Any], code: int = 200) -> Response:
        answer = jsonify(content)
        answer.status_code = code
        answer.headers.update(page.headers)
        return answer

    return blueprint


def _client(name: str, cache: Cache | S3Cache) -> Client:
    backend = cache.cache if isinstance(cache, Cache) else cache
    if not isinstance(backend, S3Cache):
        raise ConfigError(f"the status page is for cloudcached_flask.S3Cache, but {name} is a {type(backend).__name__}")
    return backend.client
