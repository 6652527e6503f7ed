"""The user's own code: a model.py written for LMI is found, executed once, kept apart from the server, and answered for."""
