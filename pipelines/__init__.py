"""Everything that runs on Ray, one folder per job a user runs, and the command line on top of it."""
