"""Imported once by the server that rank processes are forked from: loading all of it takes longer than most tests."""

import torch

from videox2l.parallel.backend import import_deepspeed

import_deepspeed(torch.device("cpu"))
