"""The command line: one thin file per life stage; heavy imports stay inside the command bodies."""
