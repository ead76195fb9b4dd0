"""People at the admin: a real browser, a real server, real clients."""
