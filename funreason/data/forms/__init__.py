"""The forms of records that are read and written, one file each; `known` has the table of them."""
