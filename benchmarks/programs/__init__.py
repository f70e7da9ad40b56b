"""Small programs that run beside the load generator."""
