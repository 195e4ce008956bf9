"""What an offline run of W&B wrote, read back: blocks of 32 KiB with messages of its protobuf, in pieces."""

import json
import struct
import zlib
from pathlib import Path

BLOCK, HEADER = 32768, struct.Struct("<IHB")
FULL, LAST = 1, 4


def messages(path: Path):
    """The records of a .wandb file, checked against their checksums."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""  # after the file's own header
    while at + HEADER.size <= len(data):
        if BLOCK - at % BLOCK < HEADER.size:  # no room for a header: padding
            at += BLOCK - at % BLOCK
            continue
        crc, size, kind = HEADER.unpack_from(data, at)
        body = data[at + HEADER.size : at + HEADER.size + size]
        assert crc == zlib.crc32(bytes([kind]) + body)
        at, whole = at + HEADER.size + size, whole + body
        if kind in (FULL, LAST):
            yield Record.FromString(whole)
            whole = b""


def read(folder: Path) -> dict:
    """id, group, job_type, tags, config, summary, history (a list of dicts), metrics (how series are defined) and
    artifacts (name -> type and paths) of the one run below a folder."""
    import wandb

    wandb.teardown()  # of this process's runs the file may not be whole before
    (path,) = folder.glob("*.wandb")
    found = {"config": {}, "summary": {}, "history": [], "metrics": {}, "artifacts": {}}
    for message in messages(path):
        kind = message.WhichOneof("record_type")
        if kind == "run":
            run = message.run
            found |= {"id": run.run_id, "group": run.run_group, "job_type": run.job_type, "tags": [*run.tags]}
            found["config"] |= _items(run.config.update)
        elif kind == "config":
            found["config"] |= _items(message.config.update)
        elif kind == "summary":
            found["summary"] |= _items(message.summary.update)
        elif kind == "history":
            found["history"].append(_items(message.history.item))
        elif kind == "metric":
            metric = message.metric
            chosen = [field.name for field, on in metric.summary.ListFields() if on]
            found["metrics"][metric.name] = {"over": metric.step_metric, "summary": chosen}
        elif kind == "artifact":
            artifact = message.artifact
            paths = sorted(entry.path for entry in artifact.manifest.contents)
            found["artifacts"][artifact.name] = {"type": artifact.type, "paths": paths}
    return found


def runs(folder: Path) -> dict[str, dict]:
    """Every offline run that was written from a folder, by its id."""
    found = list(map(read, (folder / "wandb").glob("offline-run-*")))
    assert len({run["id"] for run in found}) == len(found)
    return {run["id"]: run for run in found}


def _items(items) -> dict:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
