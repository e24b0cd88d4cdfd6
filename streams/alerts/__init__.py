"""Rules over windows, their states, and what is said when one fires."""
