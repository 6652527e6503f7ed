"""The tables of the code -> the pages of docs/ that are generated from them."""
