"""The bookshop: a small real project that serves MCP."""
