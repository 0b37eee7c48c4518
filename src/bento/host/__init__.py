"""TRUSTED: all of Bento that runs on the person's machine. A room of trust a folder; see ARCHITECTURE.md."""
