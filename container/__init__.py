"""The process around the handler: environment, sockets, signals and status codes."""
