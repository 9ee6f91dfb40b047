"""LongBench v2: 503 questions with four options over contexts of up to two million words (arXiv 2412.15204)."""
