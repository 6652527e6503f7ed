"""LoRA adapters in vLLM."""
