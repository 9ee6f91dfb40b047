"""A tree of clarification rounds (AgenticLU): ask, point back to paragraphs, answer the own question, then answer."""
