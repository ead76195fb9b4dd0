"""What the official conformance suite asks of a server, and nothing that a bookshop needs."""
