"""How models and data sets spell a call: one `Dialect` each, listed in `catalogue`.

A dialect says whose it is, whether a text attempts it, which calls a text holds, and where possible how calls are
written in it. A file holds the dialects that write calls alike, whichever family of models they are from: JSON between
marks (`framed`), a name before its JSON (`named_json`), tags, Python. Nothing a model wrote is ever evaluated, and
every reader takes time in proportion to the text.
"""
