"""Experiment trackers, fed from a run's event log."""
