"""A search over settings, within a time, a size and a speed. `autotune` is the way in."""
