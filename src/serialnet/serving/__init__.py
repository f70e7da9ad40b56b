"""Serving: ports on listeners, links between endpoints, and who may use them."""
