"""Each runtime in a process of its own, with the defaults that its users have; they take turns."""
