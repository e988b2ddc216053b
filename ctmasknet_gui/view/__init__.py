"""Widgets: they read state, listen to its events and emit intents; they never write it."""
