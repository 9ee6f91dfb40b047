"""LongMab-PO's strategy: a bandit chooses the chunks in the prompt."""
