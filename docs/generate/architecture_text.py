"""The sections of docs/architecture.md that are written by hand; tests/test_architecture.py checks what they name."""

TEXT = """\
# Architecture

```
{drawing}
```

{packages}
"""
