"""The two ways in which polyvae refuses to go on."""


class InputError(ValueError):
    """Bad input, found before compute is spent: names the value, the place and the fix (exit status 2)."""


class RunError(RuntimeError):
    """A run that cannot go on: finished work and the last good checkpoint are kept (exit status 1)."""
