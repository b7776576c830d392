"""Classical baselines for Tocsin: what a fine-tuned encoder has to beat."""
