"""Deltas of any engine -> the objects of OpenAI's API, with the fields that vLLM's server adds to them."""
