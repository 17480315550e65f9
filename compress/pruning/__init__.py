"""Which units of a network can be removed, which matter least, and their removal: the analysis and the pass on it."""
