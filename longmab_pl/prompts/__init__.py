"""Prompt formats: how a context and a question become a prompt."""
