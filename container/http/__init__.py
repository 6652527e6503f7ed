"""HTTP: routes, admission, streams, statuses, health and metrics. The only package that says an HTTP status."""
