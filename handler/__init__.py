"""Payload in, chat completion out: no environment, no status codes, and no sockets but those of `media`."""
