"""What is right: tasks, the judge, and statistics.  No algorithms, no training loop."""
