"""What a network is, inside and out: its layers, its losses, and the artefact it becomes."""
