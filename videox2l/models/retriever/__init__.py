"""Retrievers: what compares a question with frames without running the language model over a memory.

* ``clip.py``: any CLIP or SigLIP of transformers. ``embeddings.py``: the language model's own embedding space.
* ``retriever.py``: what they have in common, and how one is found by its name. ``recorded.py``: and by what an index
  says of it.
"""

from videox2l.models.retriever.recorded import check_recorded, load_recorded
from videox2l.models.retriever.retriever import OWN, Retriever, check_retriever, load_retriever

__all__ = ["OWN", "Retriever", "check_recorded", "check_retriever", "load_recorded", "load_retriever"]
