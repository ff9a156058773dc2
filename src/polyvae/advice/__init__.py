"""Which method for a data set: what is measured on it, rules with their sources, a ranking."""
