"""The loops: `self_refinement` shows the order of a round, `session` assembles a run, `refine` judges a data file."""
