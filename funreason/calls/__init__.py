"""The language of function calls: where thinking ends, parse, render, schema, compare. Nothing is ever evaluated."""
