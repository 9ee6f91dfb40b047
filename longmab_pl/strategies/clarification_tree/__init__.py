"""A tree of clarification rounds (AgenticLU): ask a clarifying question, select paragraphs, answer it, then answer."""
