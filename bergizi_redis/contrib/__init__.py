"""Ways in from other packages. Each module is for whoever has that package installed; nothing else imports it."""
