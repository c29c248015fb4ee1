"""The configuration: one TOML file, decoded strictly, and what each of its tables means."""
