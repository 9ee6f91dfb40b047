"""InfiniteBench: twelve tasks over contexts of a hundred thousand tokens and more (arXiv 2402.13718)."""
