"""``manage.py streamable_http``: what operators do at the command line."""
