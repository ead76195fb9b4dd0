"""The endpoint as a view, without middleware; the mount stands before it where it is used."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("streamable_http.urls"))]
