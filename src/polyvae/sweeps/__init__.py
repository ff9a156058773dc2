"""Many runs on one store, on this machine or a cluster."""
