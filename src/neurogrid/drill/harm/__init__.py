"""What is done to the grid: the schedule, and the hands that carry it out."""
