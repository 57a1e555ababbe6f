"""The middleware of the Django site: above all, it shows what each visit cost."""

from __future__ import annotations

from collections.abc import Callable

from django.core.cache import caches
from django.http import HttpRequest, HttpResponse

from . import visits


class Everyone:
    """A user who may see everything: the demo listens on loopback only. Your own site has users of its own."""

    is_authenticated = is_active = is_staff = True


def everyone_is_staff(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Let every visitor see the status page."""

    def respond(request: HttpRequest) -> HttpResponse:
        request.user = Everyone()  # type: ignore[assignment]
        return get_response(request)

    return respond


def tell(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Wrap the whole site, ``cache_page`` included."""

    def respond(request: HttpRequest) -> HttpResponse:
        visit = visits.begin(caches["default"].client.stats)
        try:
            response = get_response(request)
        finally:
            visit.end()
        response["Server-Timing"] = visit.server_timing()
        if not response.streaming and visits.MARK in response.content:
            response.content = response.content.replace(visits.MARK, visit.line())
            # cache_page tells browsers to keep the page as long as it does itself. Here they must ask again.
            response["Cache-Control"] = "no-store"
            del response["Expires"]
        return response

    return respond
