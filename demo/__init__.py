"""The small model that ships: labelled pictures and questions enter, a LLaVA checkpoint of a few megabytes leaves."""
