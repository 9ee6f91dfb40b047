"""Checks before a run: versions, hardware, inputs, and the memory of each phase."""
