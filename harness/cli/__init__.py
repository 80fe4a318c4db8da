"""The command line: commands, options, console output."""
