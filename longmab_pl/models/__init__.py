"""Where models, tokenizers, embedders and adapter folders come from."""
