"""A minimal project with this package, beside Django on one ASGI application."""
