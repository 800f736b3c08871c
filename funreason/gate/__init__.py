"""Whether new weights are kept: the items, the measurement, the rule."""
