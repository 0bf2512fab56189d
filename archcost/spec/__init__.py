"""From YAML or a lecture's text to a Network, and the catalog of shipped specs."""
