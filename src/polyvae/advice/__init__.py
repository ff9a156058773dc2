"""Which method for a data set: what is measured of it, rules with their sources, a ranking."""
