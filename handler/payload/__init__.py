"""Bodies of every accepted shape -> requests; an error names the JSON path."""
