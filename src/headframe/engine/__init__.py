"""Training, evaluation, mapping and model bundles: tensors and scenes, no mining rules."""
