"""LoRA adapters: their files, and the registry of those that are served."""
