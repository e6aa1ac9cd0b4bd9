"""How good a restoration is: measures, and how they are shown."""
