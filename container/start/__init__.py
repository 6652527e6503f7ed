"""The start: from the machine's check to a model that has answered a first request."""
