"""Completions from any OpenAI-compatible server: address, budget, pool of servers, sampler, chat."""
