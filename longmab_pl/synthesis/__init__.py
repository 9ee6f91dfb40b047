"""Training questions made from documents alone: written by a model, checked, and put into long contexts."""
