"""Video-XL (arXiv 2409.14485): CLIP, a projector, Qwen2 and Visual Summarization Tokens."""
