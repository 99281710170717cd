"""What is wrong with the data, found before the first step. `check` is the way in."""
