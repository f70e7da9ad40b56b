"""What all floors of the house speak of: frozen values, without I/O."""
