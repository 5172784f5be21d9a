"""What tests share; nothing of the product imports it."""
