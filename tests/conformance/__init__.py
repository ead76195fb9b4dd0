"""The official conformance suite against the demo project: ``make conformance``."""
