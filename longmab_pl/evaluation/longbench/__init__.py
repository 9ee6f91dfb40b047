"""LongBench: tasks, prompts, official metrics."""
