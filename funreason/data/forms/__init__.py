"""The forms of records that are read and written, `known` has the table of them."""
