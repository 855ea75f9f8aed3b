"""The planning half of every stage: which studies a campaign needs, and their trials."""
