"""Studies of data that are simulated from the posterior: fitted, checked and ranked."""
