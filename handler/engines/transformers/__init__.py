"""The models that vLLM no longer has, run by transformers: batches of rows that are decoded together, step by step."""
