"""The papers' tables and figures as experiments: arms of configurations, played once, compared pair by pair.

`papers` holds the experiments as data, `player` plays and caches arms, `measured` reads what a run reached,
`differences` compares, `published` writes tables, pictures and the page of results.
"""
