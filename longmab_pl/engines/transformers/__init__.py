"""The engine that generates with Transformers."""
