"""Content parts in, images of a prompt out, within limits; the only outbound network of a request.

`loader.MediaLoader` is the door, `limits.MediaLimits` its configuration.
"""
