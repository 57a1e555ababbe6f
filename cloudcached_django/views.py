"""The status page for staff: add it with ``path("cache/", include("cloudcached_django.urls"))``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.decorators import user_passes_test
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from cloudcached import Client, StoreError
from cloudcached.status import StatusPage

from .backend import S3Cache


def _clients() -> dict[str, Client]:
    """Return the clients of this site's caches by alias."""
    found = ((alias, caches[alias]) for alias in settings.CACHES)
    return {alias: cache.client for alias, cache in found if isinstance(cache, S3Cache)}


_page: Final = StatusPage(_clients)


def _is_staff(user: Any) -> bool:
    """Whether *user* may see the page. Raises ``PermissionDenied`` for a signed-in user who may not."""
    if user.is_authenticated and not (user.is_active and user.is_staff):
        raise PermissionDenied
    return bool(user.is_authenticated)


def staff_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Restrict a view to staff: other users get 403, and anonymous ones are redirected to ``LOGIN_URL``."""
    return require_safe(user_passes_test(_is_staff)(view))


@staff_only
def status(_: HttpRequest) -> HttpResponse:
    """Show the page. **Cost:** no request."""
    return HttpResponse(_page.html, headers=dict(_page.page_headers))


@staff_only
def data(_: HttpRequest) -> HttpResponse:
    """Return the live figures of this process. **Cost:** no request."""
    return JsonResponse(_page.data(), headers=dict(_page.headers))


@staff_only
def contents(request: HttpRequest) -> HttpResponse:
    """Return the contents of a cache; 404 for an unknown cache, and for a request that the page did not send.

    **Cost:** up to 10 LISTs.
    """
    try:
        found = _page.contents(request.GET.get("cache", ""), request.headers.get("X-Requested-With"))
    except StoreError:
        return JsonResponse({}, status=503, headers=dict(_page.headers))
    return JsonResponse(found or {}, status=404 if found is None else 200, headers=dict(_page.headers))
