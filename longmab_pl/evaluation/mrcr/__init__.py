"""OpenAI MRCR: find one of several equal requests in a long chat and repeat its answer (Hub data set openai/mrcr)."""
