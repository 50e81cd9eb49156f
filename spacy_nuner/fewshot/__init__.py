"""What a backbone is worth: labelled sets, k-shot draws, a frozen probe, reports."""
