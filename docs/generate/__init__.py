"""The tables of the code -> the pages that are generated from them."""

REWRITE = "python -m docs.generate"  # the command that rewrites every page
