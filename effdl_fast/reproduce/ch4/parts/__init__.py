"""What several experiments of chapter 4 share: output layers, networks, views of error curves."""
