"""The fast approximation of all rows by variational inference, and whether to believe it."""
