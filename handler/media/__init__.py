"""Image parts in, images of a prompt out, within limits; the only outbound network of a request.

Start at `loader.MediaLoader`; `limits.MediaLimits` configures it.
"""
