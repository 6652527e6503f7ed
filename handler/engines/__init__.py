"""The engines behind the seam of `handler.engine`, one file each."""
