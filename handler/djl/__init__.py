"""The user's own code: a model.py written for LMI is found, executed once in its own thread, and called for requests."""
