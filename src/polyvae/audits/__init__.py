"""What theory says of trained runs and of the user's own data."""
