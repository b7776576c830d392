"""One small component a role, from which `tocsin new-plugin` writes a plugin; read as text, never imported to run."""
