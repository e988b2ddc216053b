"""CTMaskNet's window: state, views, one worker, small controllers."""
