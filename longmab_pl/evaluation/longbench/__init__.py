"""LongBench (arXiv 2308.14508): tasks, prompts, official metrics."""
