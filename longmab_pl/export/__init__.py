"""Adapters and merged models with their model card."""
