"""The SQL of the write path that differs by database.

Everything else goes through the ORM. The write path does not: rows one at a time through the ORM cost ten times
what one statement for many rows costs (2,400 against 24,000 events a second on SQLite, one core).
"""
