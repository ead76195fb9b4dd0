"""A small project that the acceptance tests serve: tools that make the transport sweat."""
