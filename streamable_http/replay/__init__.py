"""Reading the log again: a stored session or stream as a timeline, as SSE bytes, as JSON lines.

Everything is redacted on read. Functions block, and read the ORM's database.
"""

from streamable_http.replay.copies import FORMS, as_curl, as_python, forms_of, path_of
from streamable_http.replay.entries import Direction, Entry, Kind, Lane, Timeline
from streamable_http.replay.exports import as_json_lines, as_sse, sse_event
from streamable_http.replay.filtering import Filters
from streamable_http.replay.following import News, Recent, parse_moment, recent
from streamable_http.replay.pacing import paced
from streamable_http.replay.resuming import Preview, preview
from streamable_http.replay.timeline import session_timeline, stream_timeline

__all__ = [
    "FORMS",
    "Direction",
    "Entry",
    "Filters",
    "Kind",
    "Lane",
    "News",
    "Preview",
    "Recent",
    "Timeline",
    "as_curl",
    "as_json_lines",
    "as_python",
    "as_sse",
    "forms_of",
    "paced",
    "parse_moment",
    "path_of",
    "preview",
    "recent",
    "session_timeline",
    "sse_event",
    "stream_timeline",
]
