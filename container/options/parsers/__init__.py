"""The text of one setting -> its value."""
