"""Tests of the simulated boards."""
