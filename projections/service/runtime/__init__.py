"""The stages as a process turns them: wiring, loops, workers, schedule."""
