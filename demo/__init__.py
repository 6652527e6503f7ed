"""The small model that ships: labeled images and questions enter, a LLaVA checkpoint of a few megabytes leaves."""
