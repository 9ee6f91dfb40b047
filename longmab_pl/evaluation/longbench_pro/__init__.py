"""LongBench Pro: 25 tasks in English and Chinese at six lengths (arXiv 2601.02872)."""
