"""A user's model: bound to columns, its sites, its density, and fits of one shape padded together."""
