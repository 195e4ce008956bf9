"""What the report's numbers are and are not, and where they come from, in words."""

from html import escape

import pandas as pd

from .html import text_table
from .rows import cached, quality_columns

_RIVAL = (
    "<code>against_rival</code>, <code>rival_verdict</code>: a cached cell against fewer plain steps at equal time. Its"
    " rival is, of the plain cells of its setting with fewer steps that are as fast (at least its"
    " <code>images_per_s</code>, or no more MACs), the one with the best value; the difference is cached minus rival,"
    " paired as in <code>change</code>, and the words are about the cached cell. The MACs count because protocol"
    " <code>quick</code> times each cell while it is generated, and a machine's speed may drift from one to the next: a"
    " plain cell with as few of them is not slower, whatever the clock said. A plain cell with more may still be taken"
    " by such chance, and the interval knows nothing of that (<code>make speed</code> takes turns). Only steps that"
    " were measured count: few of them favour the cached cell, and <code>no plain cell as fast</code> says nothing for"
    " it."
)


def meaning(frame: pd.DataFrame, base: pd.Series) -> str:
    """What each number is, and what it is not."""
    ours = " <code>mnist-classifier</code> is the embedded digit classifier: its values are no FID of Inception's."
    words = ["better", "worse", "indistinguishable"]
    verdicts = frame["verdict"].isin(words).sum() + frame["rival_verdict"].isin(words).sum()
    items = [
        f"<code>{name}</code>: Fr\u00e9chet distance between the features of the generated and of the training images."
        f" Lower is better.{ours if 'mnist-classifier' in name else ''}"
        for name in quality_columns(frame)
    ]
    items += [
        f"<code>{name}</code>: 100 times the cosine between the embeddings of an image and of its prompt by that CLIP,"
        " at least 0, mean over the images. Higher is better."
        for name in quality_columns(frame, "clip_score")
    ]
    items += [
        f"<code>{name}</code>: the variational bound on the negative log-likelihood of held-out images, in bits per"
        " dimension. Lower is better; nothing is generated for it."
        for name in quality_columns(frame, "nll")
    ]
    items += [
        "Only values of the very same name compare. Brackets and whiskers are 95 % intervals from the influence of each"
        " of the n images, with the training images taken as fixed.",
        "<code>change</code>: the first value minus that of the plain sampler at the same steps, with its paired 95 %"
        " interval: image i starts from the same noise in both, and r is the correlation of the images' influence"
        " values, which narrows the interval by about the root of 1 - r. <code>verdict</code>: better, worse or"
        " indistinguishable, by Holm's step-down over all comparisons of a table, rivals too"
        f" ({verdicts} on this page): of 100 tables in which nothing differs at most 5 have any better or worse. So an"
        " interval may exclude 0 where the verdict is indistinguishable.",
        *([_RIVAL] if cached(frame).any() else []),
        "<code>images_per_s</code>: protocol <code>quick</code>, the median over batches generated anyway, on"
        f" {escape(base['device'])} ({base['precision']}, batch {base['batch']}). It says nothing of other devices:"
        " figures for a GPU come from a run on that GPU. <code>times_baseline</code>: over the baseline, no more"
        " than MACs promise. <code>speedup</code>: over the same sampler, steps and factors uncached;"
        " <code>promised</code>: what their MACs promise. <code>peak_mb</code>: memory of a batch's"
        " full and shallow call; <code>trunk_mb</code>: what is kept between its calls.",
        "<code>nfe</code>: network calls per image. <code>full_calls</code>: those that ran every rung."
        " <code>MMACs</code>: million multiply-accumulates per image over the whole trajectory.",
    ]
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def measures() -> str:
    """What the measures are that cells are not compared by."""
    sets = (
        "<code>is</code>: inception score; higher is better. <code>kid</code>: the kernel distance over all pairs,"
        " without bias; lower is better. <code>precision</code>, <code>density</code>: how far generated images lie"
        " among the reference's; <code>recall</code>, <code>coverage</code>: how much of the reference they reach;"
        " higher is better. k is the neighbour that a ball reaches to, m the number of reference images. Intervals as"
        " above; those of recall, and of kid near the reference, are rather too wide."
    )
    pairs = (
        "<code>[plain, ...]</code>: images beside those of the plain cell with the same steps and the same noise, one"
        " by one, mean over the pairs: <code>psnr</code> (dB) and <code>ssim</code>, higher is nearer,"
        " <code>largest_difference</code> (levels of 255) and <code>feature_distance</code>, lower is nearer. Other"
        " images are not worse images: what a set loses, <code>fid</code> says."
    )
    return f"<p>{sets}</p><p>{pairs}</p>"


def environment(records: list[dict]) -> str:
    """What the cells were made with; where they differ, each value with its number of cells."""
    facts: dict[str, list[str]] = {}
    for record in records:
        made = record["made"]
        commit = (made["git_commit"] or "none") + (" with uncommitted changes" if made["git_dirty"] else "")
        found = {"device": record["device"], "precision": record["precision"], **made["versions"], "git commit": commit}
        for name, value in (found | {"made on": made["made"][:10]}).items():
            facts.setdefault(name, []).append(value)
    counts = {name: [f"{v}: {values.count(v)} cells" for v in dict.fromkeys(values)] for name, values in facts.items()}
    rows = [[name, "; ".join(c) if len(c) > 1 else facts[name][0]] for name, c in counts.items()]
    return text_table(["what", "value"], rows, "environment")
