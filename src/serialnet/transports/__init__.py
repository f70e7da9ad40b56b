"""The built-in transports: one file a scheme."""
