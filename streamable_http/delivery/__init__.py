"""How events get into the log and out of it: append, then wake; everybody reads by following."""
