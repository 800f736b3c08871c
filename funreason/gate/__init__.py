"""The gate: its items, the rule that accepts or refuses new weights, and the check for contaminated training tasks."""
