"""The engine that sends requests to `vllm serve` processes, on this machine or others."""
