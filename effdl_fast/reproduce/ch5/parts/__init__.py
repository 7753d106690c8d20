"""What several experiments of chapter 5 share."""
