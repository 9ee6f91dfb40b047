"""RULER: thirteen synthetic tasks at any length, made for the model's own tokenizer (arXiv 2404.06654)."""
