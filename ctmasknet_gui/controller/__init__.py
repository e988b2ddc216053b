"""One small class per use case; the only writers of state; they own the worker thread."""
