"""What would help the geometry: other coordinates, metrics and settings, tried on a small fit and ranked."""
