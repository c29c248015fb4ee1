"""Do documents, sinks and history agree? One file for each question; none of them writes anything."""
