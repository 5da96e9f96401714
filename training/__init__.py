"""How a network is made: from labelled images to one stamped artefact and its report."""
