"""The dashboard: a page that shows what a watch knows, and stays up to date."""
