"""A Flask app on the Django site's bucket: it shows the results that Django computed, and computes nothing itself.

Two settings let it read Django's entries: the same SECRET_KEY, with which both sign, and a prefix. Django's keys are
``KEY_PREFIX:VERSION:key``; without a prefix, in version 1, they begin with ``:1:``.
"""

from __future__ import annotations

from flask import Flask, Response, g, render_template
from flask_caching import Cache
from markupsafe import Markup

from cloudcached_flask import status_blueprint

from . import conf, ladder, plots, visits

app = Flask(__name__, static_url_path="")
app.config.update(
    SECRET_KEY=conf.SECRET_KEY,
    CACHE_TYPE="cloudcached_flask.S3Cache",
    CACHE_S3_URL=conf.CLOUDCACHED_URL,
    CACHE_KEY_PREFIX=":1:",
    CACHE_DEFAULT_TIMEOUT=conf.KEEP,
)
cache = Cache(app)
# Everybody may see the status page: the demo listens on loopback only.
app.register_blueprint(status_blueprint(cache, allowed=lambda: True, url_prefix="/status"))


@app.get("/")
def index() -> str | tuple[str, int]:
    """Show the replicas that Django computed, or link to the page that computes them."""
    temperatures = ladder.temperatures(fine=True)
    found = [r for r in cache.get_many(*map(ladder.key, temperatures)) if r is not None]
    coarse = set(ladder.temperatures(fine=False))
    enough = coarse <= {r.temperature for r in found}
    visits.tell(f"{len(found)} temperatures, computed by Django")
    pictures = [Markup(svg) for svg in plots.thermodynamics(found)] if enough else []  # noqa: S704 our own SVG
    page = render_template("flask.html", pictures=pictures, site=conf.DJANGO_ADDRESS)
    return page if enough else (page, 404)


@app.get("/worker")
def worker() -> tuple[str, dict[str, str]]:
    """Return the name of the worker that answers, after its first request to S3, which imports the client."""
    cache.get("worker")
    return conf.WORKER, {"Content-Type": "text/plain"}


@app.before_request
def begin() -> None:
    """Begin to measure the visit."""
    g.visit = visits.begin(cache.cache.client.stats)


@app.after_request
def tell(response: Response) -> Response:
    """Show what the visit cost, as the middleware does in Django."""
    response.headers["Server-Timing"] = g.visit.server_timing()
    if not response.direct_passthrough:
        response.data = response.data.replace(visits.MARK, g.visit.line())
        response.headers["Cache-Control"] = "no-store"
    return response


@app.teardown_request
def end(error: BaseException | None) -> None:  # noqa: ARG001
    """Mark the visit as over."""
    g.visit.end()
