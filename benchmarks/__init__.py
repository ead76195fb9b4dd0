"""How fast the server is, beside the official SDK. Run ``python -m benchmarks --help``."""
