"""The resources of the API, one module each, and what their bulk calls share."""
