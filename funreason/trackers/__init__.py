"""Experiment trackers as readers of the event log: a run is written once, and shown elsewhere from its record."""
