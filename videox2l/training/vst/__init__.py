"""Training that teaches Visual Summarization Tokens (VSTs) to a model. Entry: ``loop.train_vst``.

Every step takes some examples, a video and questions about it. Each chunk of the video is compressed at a ratio of its
own, all chunks in one forward; the loss is that of the answers' tokens, given nothing of the video but the KVs that its
VSTs keep. ``pipelines/train`` runs the same loop on many machines.
"""
