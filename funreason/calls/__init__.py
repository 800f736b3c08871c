"""The language of function calls: parse, render, compare, check against a schema. Nothing is ever evaluated."""
