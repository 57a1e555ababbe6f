"""The pages of the Django site."""

from __future__ import annotations

from django.urls import path
from django.views.static import serve

from . import settings, views

urlpatterns = [
    path("", views.index),
    path("energy/", views.energy),
    path("hysteresis/", views.hysteresis),
    path("replicas/", views.replicas, {"fine": False}),
    path("replicas/fine/", views.replicas, {"fine": True}),
    path("flask/", views.flask),
    path("style.css", serve, {"path": "style.css", "document_root": settings.BASE_DIR / "static"}),
]
