"""What each command of `polyvae` does: parse, call one function, print."""
