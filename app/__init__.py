"""How a model is used: the service and the folder inspection."""
