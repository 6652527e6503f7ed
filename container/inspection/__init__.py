"""A model's files and the options -> what `check` says of the model before anything is loaded."""
