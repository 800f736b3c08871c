"""Where a round's tasks come from: a data file or the embedded toolbox."""
