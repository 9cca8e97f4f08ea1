"""`ax monitor demo`: the five-minute tour, on a real little workflow engine.

| module | what |
|---|---|
| `tour` | the story: what is run, what is shown |
| `engine` | the engine: files are fetched, parsed, summarized, compressed and hashed |
| `models` | priced models behind an API that can break down: the only part that is a stub |
| `history` | a month of executions before the story begins |
| `__main__` | a second process with an engine, which the tour kills |
"""
