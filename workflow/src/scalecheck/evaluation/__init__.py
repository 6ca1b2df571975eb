"""What a model is asked after its fit: likelihood, scores, predictions and replicates."""
