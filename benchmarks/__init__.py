"""What a call costs, next to other ways to make it; README.md has the method."""
