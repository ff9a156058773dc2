"""The user's own data: arrays in memory or in a file."""
