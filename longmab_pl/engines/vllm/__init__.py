"""The engine that runs vLLM in this process."""
