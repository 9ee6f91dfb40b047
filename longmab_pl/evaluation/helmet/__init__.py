"""HELMET (arXiv 2410.02694): its retrieval-augmented and long-document questions and its metrics."""
