"""Needle in a haystack: tasks and heat map."""
