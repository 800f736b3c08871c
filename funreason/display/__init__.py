"""What a plain terminal and a report show of a record: tables, progress lines, figures."""
