"""The URLs of the status page, to be included wherever a site wants it."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "cloudcached"
urlpatterns = [
    path("", views.status, name="status"),
    path("data/", views.data, name="status-data"),
    path("contents/", views.contents, name="status-contents"),
]
