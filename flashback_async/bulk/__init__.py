"""Many calls at once, and their outcomes; nothing here knows HTTP."""
