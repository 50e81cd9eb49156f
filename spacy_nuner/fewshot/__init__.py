"""What a backbone is worth: k-shot draws, a frozen probe, names alone, reports."""
