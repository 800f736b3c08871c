"""Readers and writers of task files, and the embedded toolbox domain."""
