"""What a person inside a domain types: one command a module, each one call to another domain."""
