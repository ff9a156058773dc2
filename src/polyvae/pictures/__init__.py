"""Pictures of data and of what models draw."""
