"""The environment, serving.properties and S3 -> settings, each with its origin."""
