"""How fast a network can be at best on a device, and what records of measurements say."""
