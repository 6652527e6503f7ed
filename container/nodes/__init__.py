"""Several machines that compute as one engine: which one this is, and how they start and stop together."""
