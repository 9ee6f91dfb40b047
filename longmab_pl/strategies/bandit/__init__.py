"""LongMab-PO's strategy: a bandit picks the chunks that the model reads."""
