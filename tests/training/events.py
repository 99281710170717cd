"""Event files read as TensorBoard reads them."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog


def read(folder: Path) -> list[Event]:
    """The events of a folder's files, in the order of their names; a record is length, checksum, data, checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            if at + 16 + size > len(data):
                break  # cut off in the middle of a record
            found.append(Event.FromString(data[at + 12 : at + 12 + size]))
            at += 16 + size
    return found


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    """Step and figure of all points of a name. At a start, those of its step and later are void."""
    found: list[tuple[int, float]] = []
    for event in read(folder):
        if event.session_log.status == SessionLog.START:
            found = [(step, figure) for step, figure in found if step < event.step]
        found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == name]
    return found
