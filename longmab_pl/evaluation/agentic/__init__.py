"""Agentic inference (AgenticLU): five turns over one document, beside other ways of asking."""
