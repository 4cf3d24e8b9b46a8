"""Measurements that anyone can repeat: ``videox2l bench``. None needs Ray, a GPU or a download."""
