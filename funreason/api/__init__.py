"""The Python front door: `refine`, `Loop`, `evaluate` and `judge`, objects in and objects out.

Each does what the command of the same name does, without a terminal. They may be called from a running event loop, as
in a notebook: the work then runs in a thread of its own. What a base install cannot do raises MissingExtra, which
names the extra to install.

Import from `funreason` itself; a name's file is loaded when the name is first used.
"""
