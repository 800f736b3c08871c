"""How models and data sets spell a call: one `Dialect` each, listed in `catalogue`.

A dialect says whose it is, whether a text attempts it, which calls a text holds, and where possible how calls are
written in it. A file holds the dialects of one family of models. Nothing a model wrote is ever evaluated, and every
reader takes time in proportion to the text.
"""
