"""LoRA adapters before the engine has them: their files on this machine, and those that are served from the start."""
