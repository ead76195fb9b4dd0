"""Where sessions, streams and events live.

One interface (:mod:`~streamable_http.stores.base`), implementations by dotted path: ``db.DatabaseStore`` (the
default), ``memory.MemoryStore`` (tests and single processes), and ``cached.CachedStore``, which puts Django's cache in
front of another one.
"""
