"""The interface: what flows through an algorithm, what it is asked, and where the algorithms are found."""
