"""LoRA adapters: their files, the store that copies or downloads them, and the registry of those that are served."""
