"""The pages of the Django site."""

from __future__ import annotations

from django.urls import include, path
from django.views.static import serve

from . import exhibits, settings, views

#: In the folder ``static``.
FILES = ("style.css", "exhibits.js")

urlpatterns = [
    path("", views.index),
    path("energy/", views.energy),
    path("hysteresis/", views.hysteresis),
    path("replicas/", views.replicas, {"fine": False}),
    path("replicas/fine/", views.replicas, {"fine": True}),
    path("lattice/", views.lattice, {"state": "cold"}),
    path("lattice/<str:state>/", views.lattice),
    path("stampede/", exhibits.stampede),
    path("stampede/run/<str:way>/", exhibits.stampede_run),
    path("stampede/value/<str:run>/", exhibits.value),
    path("plug/", exhibits.pull),
    path("plug/tick/", exhibits.tick),
    path("plug/<str:to>/", exhibits.pull_switch),
    path("status/", include("cloudcached_django.urls")),
    path("flask/", views.flask),
    path("worker", views.worker),
    *(path(name, serve, {"path": name, "document_root": settings.BASE_DIR / "static"}) for name in FILES),
]
