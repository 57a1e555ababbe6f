"""The URLs of the status page, to include anywhere in a site's URLs."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "cloudcached"
urlpatterns = [
    path("", views.status, name="status"),
    path("data/", views.data, name="status-data"),
    path("contents/", views.contents, name="status-contents"),
]
