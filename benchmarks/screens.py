"""Fill the database of the demo project, and ask for each page of the admin and each list of the API.

``python -m benchmarks.screens <events> <runs>``, on an empty database that ``DATABASE_URL`` names. In this process, by
Django's test client, so that the time is the server's own. Prints one JSON object. Pages are found by the admin's
registry and by URL patterns; what is not there is left out.
"""

from __future__ import annotations

import gc
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import django
import psutil

SKIPPED: Final = re.compile(r"export|replay|tail|schema|copy|history|delete|_rows$|add$")
"""Names of what takes as long as there are rows, or is no page."""

STANDARD: Final = ("changelist", "add", "history", "delete", "change")
SEARCHES: Final = ("inspector", "find_books", "no such thing")
CHOICES: Final = 3
"""Of each filter."""

LIMIT_MS: Final = 300.0
SHOWN_QUERIES: Final = 3
MIB: Final = 1024 * 1024


@dataclass(slots=True)
class Page:
    """A URL and what was found there."""

    title: str
    url: str
    status: int = 0
    size_bytes: int = 0
    queries: int = 0
    sql_ms: float = 0.0
    """What the queries took, of one more run; the rest is Python's."""

    times_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """Of this process alone: on a busy machine the truer figure, without what PostgreSQL's own processes use."""

    grown_mib: float = 0.0
    """Memory of the process behind the last run, above that behind the first one."""

    slow: list[dict[str, Any]] = field(default_factory=list)
    """The slowest queries of a page over the limit, with their plans."""

    @property
    def median_ms(self) -> float:
        """Of the runs, by the wall."""
        return statistics.median(self.times_ms)


class Visitor:
    """A logged-in superuser's browser."""

    def __init__(self, runs: int) -> None:
        from django.contrib.auth import get_user_model  # noqa: PLC0415  # after Django's settings
        from django.db import connections  # noqa: PLC0415
        from django.test import Client  # noqa: PLC0415

        from streamable_http import conf  # noqa: PLC0415

        self._client = Client(headers={"host": "localhost"}, raise_request_exception=False)
        self._client.force_login(get_user_model().objects.create_superuser("visitor"))
        self._connection = connections[conf.settings.DATABASE]
        self._process = psutil.Process()
        self._runs = runs

    def get(self, url: str) -> Any:
        """Return the response, with all of its body."""
        response = self._client.get(url)
        if response.streaming:
            response.body = b"".join(response.streaming_content)
        return response

    def measure(self, page: Page) -> Page:
        """Ask for a page so many times, then once more for its queries."""
        from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

        grown_from = 0
        for run in range(self._runs):
            begun_at, cpu_at = time.perf_counter(), time.process_time()
            response = self.get(page.url)
            page.cpu_ms.append((time.process_time() - cpu_at) * 1_000)
            page.times_ms.append((time.perf_counter() - begun_at) * 1_000)
            if run == 0:
                grown_from = self._memory()
        page.grown_mib = (self._memory() - grown_from) / MIB
        page.status = response.status_code
        page.size_bytes = len(response.body if response.streaming else response.content)
        with CaptureQueriesContext(self._connection) as captured:
            self.get(page.url)
        page.queries = len(captured)
        page.sql_ms = sum(float(query["time"]) for query in captured.captured_queries) * 1_000
        if page.median_ms > LIMIT_MS:
            slowest = sorted(captured.captured_queries, key=lambda query: -float(query["time"]))
            page.slow = [self._explained(query) for query in slowest[:SHOWN_QUERIES]]
        return page

    def _memory(self) -> int:
        gc.collect()
        return int(self._process.memory_info().rss)

    def _explained(self, query: dict[str, str]) -> dict[str, Any]:
        explain = "EXPLAIN (ANALYZE, BUFFERS)" if self._connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        plan: list[str] = []
        if query["sql"].startswith(("SELECT", "WITH")):
            from django.db import DatabaseError, transaction  # noqa: PLC0415

            try:
                with transaction.atomic(self._connection.alias), self._connection.cursor() as cursor:
                    # As Django logged it, with its values in place; not for parameters.
                    cursor.execute(f"{explain} {query['sql']}".replace("%", "%%"), [])
                    plan = [str(row[-1]) for row in cursor.fetchall()]
            except (DatabaseError, ValueError, IndexError, TypeError) as error:
                plan = [f"no plan: {error}"]
        return {"sql": query["sql"], "ms": float(query["time"]) * 1_000, "plan": plan}


# What there is


class Finder:
    """Finds pages; asks for some of them on the way."""

    def __init__(self, visitor: Visitor, big_id: int) -> None:
        from streamable_http.models import Stream  # noqa: PLC0415

        self._visitor = visitor
        longest = Stream.objects.filter(session_id=big_id).order_by("-head").values_list("pk", flat=True)[0]
        usual = Stream.objects.filter(method="tools/call", state="answered").order_by("pk")
        middle = usual.values("pk", "session_id")[usual.count() // 2]
        self._rows = {
            "session": {"usual": middle["session_id"], "biggest": big_id},
            "stream": {"usual": middle["pk"], "longest": longest},
        }

    @property
    def ids(self) -> dict[str, int]:
        """A session with many events, and a stream in the middle of the log."""
        return {"session": self._rows["session"]["biggest"], "stream": self._rows["stream"]["longest"]}

    def admin(self) -> Iterator[Page]:
        """Find all pages of this app in the admin."""
        from django.contrib import admin  # noqa: PLC0415
        from django.urls import reverse  # noqa: PLC0415

        yield Page("admin index", reverse("admin:index"))
        yield Page("admin app index", reverse("admin:app_list", args=["streamable_http"]))
        for model, model_admin in admin.site._registry.items():
            options = model._meta
            if options.app_label != "streamable_http":
                continue
            base = f"{options.app_label}_{options.model_name}"
            yield from self._lists(options.model_name, reverse(f"admin:{base}_changelist"))
            yield from self._objects(options.model_name, f"admin:{base}_change", model)
            yield from self._others(options.model_name, model_admin.get_urls(), "admin:")

    def _lists(self, title: str, url: str) -> Iterator[Page]:
        yield Page(f"{title} list", url)
        response = self._visitor.get(url)
        shown = (getattr(response, "context_data", None) or {}).get("cl")
        if shown is None:
            return
        for spec in shown.filter_specs:
            choices = [choice["query_string"] for choice in spec.choices(shown) if not choice["selected"]]
            for query in choices[:CHOICES]:
                yield Page(f"{title} list by {spec.title}", url + query)
        if shown.search_fields:
            for text in (*SEARCHES, f"{self._rows['session']['biggest']:x}"):
                yield Page(f"{title} list, search", f"{url}?q={text}".replace(" ", "+"))
        if shown.date_hierarchy:
            now = time.gmtime()
            year = f"{url}?{shown.date_hierarchy}__year={now.tm_year}"
            month = f"{year}&{shown.date_hierarchy}__month={now.tm_mon}"
            yield Page(f"{title} list of a year", year)
            yield Page(f"{title} list of a month", month)
            yield Page(f"{title} list of a day", f"{month}&{shown.date_hierarchy}__day={now.tm_mday}")
        if shown.multi_page and not hasattr(shown.paginator, "cursor"):
            yield Page(f"{title} list, last page", f"{url}?p={shown.paginator.num_pages}")
        for number, name in enumerate(shown.list_display):
            if shown.get_ordering_field(name) is not None and shown.model_admin.get_sortable_by(response.wsgi_request):
                yield Page(f"{title} list, sorted by {name}", f"{url}?o=-{number}")

    def _objects(self, title: str, name: str, model: Any) -> Iterator[Page]:
        from django.urls import reverse  # noqa: PLC0415

        rows = self._rows.get(title)
        if rows is None:
            rows = {"usual": model._base_manager.values_list("pk", flat=True).order_by("pk").last()}
        for which, pk in rows.items():
            yield Page(f"{title} page, {which}", reverse(name, args=[pk]))

    def _others(self, title: str, patterns: Iterable[Any], namespace: str) -> Iterator[Page]:
        """Find pages that an admin class has of its own, such as a dashboard."""
        for pattern in patterns:
            name = getattr(pattern, "name", None)
            if not name or name.endswith(STANDARD) or SKIPPED.search(name):
                continue
            yield from self._reversed(f"{title}: {name}", namespace + name, list(pattern.pattern.converters))

    def api(self, prefix: str) -> Iterator[Page]:
        """Find what the API has to GET."""
        for name, pattern in _flat(prefix):
            if not SKIPPED.search(name):
                arguments = re.findall(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>", pattern)
                yield from self._reversed(f"API {name}", name, [one or other for one, other in arguments])

    def _reversed(self, title: str, name: str, arguments: list[str]) -> Iterator[Page]:
        from django.urls import NoReverseMatch, reverse  # noqa: PLC0415

        if not arguments:
            yield Page(title, reverse(name))
            return
        if len(arguments) > 1 or "format" in arguments:
            return
        kind = "stream" if "stream" in title.replace("streamable_http", "") else "session"
        query = f"?since={quote(_minute_ago())}" if name.endswith("recent") else ""
        for which, pk in self._rows[kind].items():
            for value in (f"{pk:x}", pk):
                try:
                    url = reverse(name, args=[value]) + query
                except NoReverseMatch:
                    continue
                if self._visitor.get(url).status_code == 200:
                    yield Page(f"{title}, {which}", url)
                    break


def _flat(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the names, with their namespaces, and whole patterns of URLs below a prefix."""
    from django.urls import get_resolver  # noqa: PLC0415

    def walk(resolver: Any, names: str, path: str) -> Iterator[tuple[str, str]]:
        for pattern in resolver.url_patterns:
            whole = path + str(pattern.pattern).lstrip("^")
            if hasattr(pattern, "url_patterns"):
                namespace = f"{names}{pattern.namespace}:" if pattern.namespace else names
                yield from walk(pattern, namespace, whole)
            elif pattern.name and whole.startswith(prefix):
                yield names + pattern.name, whole

    yield from walk(get_resolver(), "", "")


def _minute_ago() -> str:
    return (datetime.now(UTC) - timedelta(minutes=1)).isoformat()


def varied(pages: Iterable[Page], **ids: int) -> Iterator[Page]:
    """Yield each page once, with what its query string may choose."""
    seen: set[str] = set()
    for page in pages:
        for one in (page, *_variants(page, ids)):
            if one.url not in seen:
                seen.add(one.url)
                yield one


def _variants(page: Page, ids: dict[str, int]) -> Iterator[Page]:
    for pattern, queries in VARIANTS:
        if re.search(pattern, page.url):
            for query in queries:
                written = query.format(**{name: f"{id:x}" for name, id in ids.items()})
                yield Page(f"{page.title} ?{written}", f"{page.url}?{written}")


VARIANTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (r"^/admin/.*/dashboard/$", ("range=1h", "range=6h", "range=24h", "range=7d")),
    (
        r"^/admin/streamable_http/session/\d+/change/$",
        ("page=end", "errors=on", "direction=out", "method=tools/call", "text=row+9", "text=no+such+thing"),
    ),
    (r"^/admin/streamable_http/stream/\d+/change/$", ("after=5000", "step=9000", "resume=10", "errors=on")),
    (
        r"^/api/mcp/sessions/$",
        ("limit=200", "state=open", "q=inspector", "q=no+such+thing", "server=conformance", "principal=user-7",
         "cursor={session}"),
    ),
    (
        r"^/api/mcp/streams/$",
        ("limit=200", "session={session}", "sessionless=true", "state=lost", "outcome=error", "method=resources/read",
         "name=reserve", "name=no+such+thing", "outcome=error&name=reserve", "cursor={stream}"),
    ),
    (
        r"^/api/mcp/sessions/\w+/events/$",
        ("cursor=end", "errors=true", "direction=out", "method=tools/call", "text=row+9", "text=no+such+thing"),
    ),
    (r"^/api/mcp/streams/\w+/events/$", ("after=5000&limit=500",)),
    (r"^/api/mcp/statistics/$", ("seconds=3600", "seconds=86400", "seconds=604800", "seconds=2678400")),
)  # fmt: skip
"""What the query strings of some pages choose, by their URLs in the demo project."""


def main(events: int, runs: int, report: Callable[[str], object]) -> None:
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from benchmarks import million  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    begun_at = time.perf_counter()
    month = million.Month(million.Shape.of(events), time.time())
    million.fill(month)
    fill_seconds = time.perf_counter() - begun_at
    big_id = month.big_id
    del month
    visitor = Visitor(runs)
    finder = Finder(visitor, big_id)
    before = psutil.Process().memory_info().rss
    pages = []
    for page in varied([*finder.admin(), *finder.api("api/")], **finder.ids):
        visitor.measure(page)
        pages.append({**asdict(page), "median_ms": page.median_ms, "worst_ms": max(page.times_ms)})
        print(f"{page.median_ms:8.1f} ms  {page.title}", file=sys.stderr)
    grown = (psutil.Process().memory_info().rss - before) / MIB
    report(json.dumps({"fill_seconds": fill_seconds, "grown_mib": grown, "pages": pages}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), print)
