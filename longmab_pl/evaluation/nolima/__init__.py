"""NoLiMa: needles that share no words with their questions (arXiv 2502.05167)."""
