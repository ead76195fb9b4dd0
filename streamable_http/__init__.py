"""MCP's Streamable HTTP transport for Django, both ends of it."""

__version__ = "0.1.0"
