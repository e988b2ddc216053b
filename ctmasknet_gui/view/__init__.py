"""Widgets: they read state, listen to its events and ask for use cases; they never write it."""
