"""What a checkpoint is, by its small files and the headers of its weights; nothing is loaded."""
