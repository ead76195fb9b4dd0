"""Faults on purpose, while clients are at work, and a checker of what they then got; see ``__main__``."""
