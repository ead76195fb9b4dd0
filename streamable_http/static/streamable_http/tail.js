// The live tail: new entries at the end of the table, by a WebSocket, or by asking again and again where there is none.
// What comes is HTML that the server has escaped, by the template of the page itself.

const live = document.getElementById("live");
const table = live && document.getElementById(live.dataset.table);

const POLL_MS = 2000;
const LONGEST_PAUSE_MS = 30_000;
const MAX_KEPT = 1000;
const MAX_ROWS = 3000;
const LANES = 8;
const FORBIDDEN = 4403;

if (table) {
    start();
}

function start() {
    const texts = live.dataset;
    const toggle = document.getElementById("live-toggle");
    const pauseButton = document.getElementById("live-pause");
    const unreadButton = document.getElementById("live-unread");
    const status = document.getElementById("live-status");
    const title = document.title;
    const filters = new URLSearchParams(location.search);
    const lanes = new Map();

    let since = texts.since;
    let socket = null;
    let poll = 0;
    let pause = POLL_MS;
    let run = 0;
    let isPaused = false;
    let waiting = [];
    let isCut = false;
    let unread = 0;

    live.hidden = false;
    for (const row of document.querySelectorAll("#timeline-lanes tr[data-stream]")) {
        lanes.set(row.dataset.stream, row.dataset.lane);
    }

    function say(text) {
        const isFiltered = ["direction", "method", "stream", "text", "errors"].some((name) => filters.get(name));
        status.textContent = isFiltered && live.dataset.state === "on" ? `${text} ${texts.textFiltered}` : text;
    }

    function set(state, text) {
        live.dataset.state = state;
        const isOn = state === "on" || state === "paused" || state === "connecting";
        toggle.textContent = isOn ? texts.textStop : texts.textFollow;
        toggle.setAttribute("aria-pressed", String(isOn));
        pauseButton.hidden = !isOn;
        pauseButton.textContent = isPaused ? texts.textGoOn : texts.textPause;
        pauseButton.setAttribute("aria-pressed", String(isPaused));
        say(text);
    }

    // Rows

    function fits(entry) {
        const data = entry.dataset;
        const text = (filters.get("text") ?? "").trim().toLowerCase();
        return (
            (!filters.get("direction") || data.direction === filters.get("direction")) &&
            (!filters.get("method") || data.method === filters.get("method")) &&
            (!filters.get("stream") || data.stream === filters.get("stream")) &&
            (!filters.get("errors") || data.kind === "error") &&
            (!text || entry.textContent.toLowerCase().includes(text))
        );
    }

    function lane(stream) {
        if (stream && !lanes.has(stream)) {
            lanes.set(stream, String((lanes.size % LANES) + 1));
        }
        return lanes.get(stream);
    }

    function parse(html) {
        // A template's content is inert; the HTML is the server's own, escaped.
        const template = document.createElement("template");
        template.innerHTML = html;
        return template.content.querySelector("tbody.wire-entry");
    }

    // The newest last. What came late, because it was committed late, goes to its place.
    function insert(entry) {
        let before = table.querySelector("tbody.wire-last");
        let previous = before ? before.previousElementSibling : table.lastElementChild;
        while (previous?.matches("tbody.wire-entry") && Number(previous.dataset.at) > Number(entry.dataset.at)) {
            before = previous;
            previous = previous.previousElementSibling;
        }
        table.insertBefore(entry, before);
    }

    function add(items) {
        let added = 0;
        const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
        for (const item of items) {
            const entry = parse(item.html);
            if (!entry || document.getElementById(entry.id) || !fits(entry)) {
                continue;
            }
            const number = lane(item.stream);
            if (number) {
                entry.dataset.lane = number;
            }
            entry.classList.add("wire-new");
            insert(entry);
            added += 1;
        }
        if (!added) {
            return;
        }
        table.parentElement.parentElement.querySelector(".wire-none")?.remove();
        const rows = table.querySelectorAll("tbody.wire-entry");
        for (let index = 0; index < rows.length - MAX_ROWS; index += 1) {
            rows[index].remove();
        }
        if (isAtEnd && !document.hidden) {
            table.lastElementChild.scrollIntoView({ block: "end" });
        } else {
            count(unread + added);
        }
    }

    function count(number) {
        unread = number;
        unreadButton.hidden = unread === 0;
        unreadButton.textContent = `${unread} ${texts.textUnread}`;
        document.title = unread ? `(${unread}) ${title}` : title;
    }

    function take(news) {
        since = news.since;
        if (news.isCut) {
            say(texts.textLost);
        }
        if (!isPaused) {
            add(news.entries);
            return;
        }
        const known = new Set(waiting.map((item) => item.key));
        const fresh = news.entries.filter((item) => !known.has(item.key) && !document.getElementById(`e-${item.key}`));
        waiting.push(...fresh);
        if (waiting.length > MAX_KEPT) {
            waiting = waiting.slice(-MAX_KEPT);
            isCut = true;
        }
        count(waiting.length);
    }

    // Connections

    function connect(mine) {
        set("connecting", texts.textConnecting);
        const url = new URL(texts.socket, location.href);
        url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
        url.searchParams.set("since", since);
        let wasOpen = false;
        let current;
        try {
            current = new WebSocket(url);
        } catch {
            ask(mine);
            return;
        }
        socket = current;
        current.addEventListener("open", () => {
            wasOpen = true;
            live.dataset.by = "socket";
            set(isPaused ? "paused" : "on", isPaused ? texts.textPaused : texts.textOn);
        });
        current.addEventListener("message", (event) => {
            if (mine === run) {
                take(JSON.parse(event.data));
                current.send("{}");
            }
        });
        current.addEventListener("close", (event) => {
            if (mine !== run) {
                return;
            }
            if (wasOpen && event.code === FORBIDDEN) {
                stop("ended", texts.textForbidden);
            } else {
                // No such route, or a proxy that knows no WebSockets, or the server was restarted.
                ask(mine);
            }
        });
    }

    async function ask(mine) {
        if (mine !== run) {
            return;
        }
        if (live.dataset.by !== "poll" || live.dataset.state === "connecting") {
            live.dataset.by = "poll";
            set(isPaused ? "paused" : "on", isPaused ? texts.textPaused : texts.textPolling);
        }
        const url = new URL(texts.poll, location.href);
        url.searchParams.set("since", since);
        let news = null;
        try {
            const response = await fetch(url, { credentials: "same-origin", redirect: "manual" });
            if (mine !== run) {
                return;
            }
            // Who is logged out is led to the login.
            if (response.type === "opaqueredirect" || response.status === 403 || response.status === 404) {
                stop("ended", texts.textForbidden);
                return;
            }
            news = response.ok ? await response.json() : null;
        } catch {
            // Nobody is there, most likely for a restart.
        }
        if (mine !== run) {
            return;
        }
        if (news) {
            take(news);
            if (pause !== POLL_MS) {
                pause = POLL_MS;
                set(isPaused ? "paused" : "on", isPaused ? texts.textPaused : texts.textPolling);
            }
        } else {
            pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
            say(texts.textAway);
        }
        poll = setTimeout(() => ask(mine), pause);
    }

    function stop(state, text) {
        run += 1;
        clearTimeout(poll);
        socket?.close();
        socket = null;
        isPaused = false;
        add(waiting);
        waiting = [];
        set(state, text);
    }

    // Buttons

    toggle.addEventListener("click", () => {
        if (socket || live.dataset.state === "on" || live.dataset.state === "paused") {
            stop("off", texts.textStopped);
        } else if (texts.end) {
            // What is new belongs to the end.
            location.assign(`${texts.end}#live`);
        } else {
            run += 1;
            connect(run);
        }
    });

    pauseButton.addEventListener("click", () => {
        isPaused = !isPaused;
        if (isPaused) {
            set("paused", texts.textPaused);
            return;
        }
        const kept = waiting;
        waiting = [];
        count(0);
        set("on", isCut ? texts.textLost : texts.textOn);
        isCut = false;
        add(kept);
    });

    unreadButton.addEventListener("click", () => {
        if (isPaused) {
            pauseButton.click();
        }
        count(0);
        table.lastElementChild.scrollIntoView({ block: "end" });
    });

    addEventListener("scroll", () => {
        if (!isPaused && unread && innerHeight + scrollY >= document.documentElement.scrollHeight - 80) {
            count(0);
        }
    }, { passive: true });

    if (location.hash === "#live" && !texts.end) {
        toggle.click();
    }
}
