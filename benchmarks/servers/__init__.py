"""The servers that are measured. Each runs in a process of its own, under uvicorn."""
