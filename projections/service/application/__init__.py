"""What the commands and the schedule do, without the command line: each takes a plan and returns records."""
