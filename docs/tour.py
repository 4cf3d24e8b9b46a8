# %% [markdown]
# # A tour of Video-X²L
#
# A video is *ingested* once: its KV cache is kept at two levels per chunk, detail and gist. A question then re-loads
# the detail of the few chunks that matter to it. This notebook goes through all of that on the bundled model, without a
# GPU or a download.
#
# The bundled model knows only one world: rendered clips of coloured shapes, each scene eight seconds long and with
# another three-digit code every second. This clip is new to it.

# %%
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

import videox2l
from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, code_text, name_of, render

folder = Path(tempfile.mkdtemp())
clip = SyntheticClip.from_seed(HELD_OUT_SEED + 7_000, 24)
render(clip, folder / "clip.mp4")
print(f"{clip.duration_s} s:", ", ".join(name_of(scene.key) for scene in clip.scenes[:6]), "…")
Image.fromarray(clip.frame_at(34.5)).quantize(32)

# %% [markdown]
# ## Ingest
#
# `videox2l.open` opens an archive, here a local folder; `s3://bucket/path` works the same. The model is loaded by the
# first call that needs it.

# %%
archive = videox2l.open(folder / "archive", model="tiny", create=True)
video = archive.ingest(folder / "clip.mp4")
video

# %% [markdown]
# From now on the file is not needed. The archive can be opened by any program, on any machine:

# %%
archive.videos()

# %% [markdown]
# ## Ask
#
# An answer shows what it rests on. Each bar is a chunk of the video: its height is how relevant it is to the question,
# green was read in detail. What it cost is below.

# %%
scene = clip.scenes[4]
question = f"What is the code in second 3 of the {name_of(scene.key)} scene?"
answer = video.ask(question, selection=videox2l.SelectionConfig(top_k=1))
print("the clip shows", code_text(scene.codes[2]))
answer

# %% [markdown]
# The gist alone does not hold such details, which is why they are re-loaded:

# %%
print(video.ask(question, selection="none"))

# %% [markdown]
# But it knows what happens in the video as a whole:

# %%
print("the clip shows the", name_of(clip.scenes[11].key))
print(video.ask(f"Which scene comes right after the {name_of(clip.scenes[10].key)} scene?", selection="none"))

# %% [markdown]
# ## What does the answer rest on?
#
# `explain` asks again without each of the chunks that were read: does the answer change, and how much less likely does
# it become?

# %%
video.explain(question, selection=videox2l.SelectionConfig(top_k=3))

# %% [markdown]
# ## Piece by piece, a part of the video, a conversation

# %%
for piece in video.stream(question):
    print(piece, end="|")

# %%
whether = f"Is there a {name_of(scene.key)} scene?"  # it is from 0:32 to 0:40
print(video.ask(whether))
print(video.ask(whether, start="1:00"))

# %% [markdown]
# In a conversation questions are asked behind the turns before them. KVs of earlier turns are kept as long as the same
# chunks are read. (The bundled model was taught single questions only; real models refer back.)

# %%
conversation = video.conversation()
conversation.ask(question)
conversation.ask(f"Which scene comes right after the {name_of(clip.scenes[10].key)} scene?")
conversation

# %% [markdown]
# ## Many questions at once
#
# Questions of several threads are decoded together, and what one of them has read the others find in memory.

# %%
asked = [(scene, f"What is the code in second 3 of the {name_of(scene.key)} scene?") for scene in clip.scenes]
with ThreadPoolExecutor(8) as threads:
    answers = list(threads.map(video.ask, [question for _, question in asked]))
right = sum(answer.text == code_text(scene.codes[2]) for (scene, _), answer in zip(asked, answers, strict=True))
print(f"{right} of {len(asked)} codes are right")

# %% [markdown]
# ## For programs
#
# Answers are plain dataclasses.

# %%
print(answer.text, answer.spans, answer.receipt.bytes_read)
print(answer.to_json(indent=None)[:300], "…")

# %%
archive.close()
