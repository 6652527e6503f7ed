"""The grammars of requests (JSON schemas, regular expressions, EBNF, Lark, structural tags, choices). Each is tried in a
process of its own before vLLM sees it: its compilers crash on some, and take minutes or all memory on others."""
