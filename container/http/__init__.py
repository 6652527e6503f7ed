"""HTTP: routes, admission, streams, statuses, health and metrics. The only package that knows HTTP statuses."""
