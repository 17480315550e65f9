"""model <-> file <-> runtime: load, lift, export, parity, sessions, device records, the stopwatch."""
