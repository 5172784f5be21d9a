"""Programs on an engine: NumPy arrays in and out, counters, errors in terms of the program's source."""
