"""What the manager needs from the outside, as narrow Protocols. Drivers fulfil them; the manager knows only these."""
