"""Training of the bundled tiny checkpoint, from rendering its clips to its model card. Entry: ``run.train_tiny``."""
