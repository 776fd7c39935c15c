"""A plan measured beside the libraries that do the same: protocol, baselines, statistics, tables."""
