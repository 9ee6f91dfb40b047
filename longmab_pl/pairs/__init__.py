"""Preference pairs: from scored responses, from files, to files."""
