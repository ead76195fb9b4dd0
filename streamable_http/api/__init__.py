"""The REST API over what was recorded: ``path("api/mcp/", include("streamable_http.api.urls"))``.

It needs the extra ``api``: ``pip install "django-streamable-http[api]"``.
"""
