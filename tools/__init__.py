"""Tools of the project itself: they build, check and describe it, and are no part of what is installed."""
