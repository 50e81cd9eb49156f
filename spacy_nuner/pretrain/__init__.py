"""DocBin -> backbone: contrastive pre-training of an encoder on entity concepts."""
