"""The engine that asks `vllm serve` processes, here or elsewhere."""
