"""``manage.py mcp_…``: what operators do at the command line. Parsing and printing; the rest is elsewhere."""
