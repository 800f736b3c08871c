"""Sampling from OpenAI-compatible servers: a pool that balances and retries, a budget, a sampler and a chat model."""
