"""The vocabulary: transports, lines, listeners, endpoints, the registry and the errors."""
