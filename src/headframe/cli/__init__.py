"""The command line: thin, no domain rules."""
