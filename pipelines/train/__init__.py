"""Training on Ray Train and DeepSpeed ZeRO: the steps of ``videox2l.training.vst``, shared by many workers.

Entry: ``job.train``.
"""
