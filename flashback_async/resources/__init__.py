"""What to ask: one module per resource of the API."""
