"""Preflight checks: versions, hardware, inputs, and the memory of each phase."""
