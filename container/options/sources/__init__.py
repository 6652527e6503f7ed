"""Where settings come from: the environment, serving.properties and S3."""
