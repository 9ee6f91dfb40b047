"""Rollout strategies: what to ask next about a record."""
