"""How often and how much somebody may ask: tiers, windows, and the engines that count (LIM-1 to LIM-8)."""
