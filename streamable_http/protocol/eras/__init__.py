"""The steps of admission that differ by era. The eras do not know each other."""
