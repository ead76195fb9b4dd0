// Plays the entries of a stream's page as they came. It only shows and hides rows that the server has rendered, and
// fetches the next page when it comes to the end of this one. Where it stands is in the URL: #e-KEY.

const player = document.getElementById("replay-player");
const table = player && document.getElementById(player.dataset.table);

const LONGEST_PAUSE_MS = 2000;
const MAX_ROWS = 5000;

if (table) {
    start();
}

function start() {
    const texts = player.dataset;
    const speed = document.getElementById("replay-speed");
    const range = document.getElementById("replay-position");
    const where = document.getElementById("replay-where");
    const full = document.getElementById("replay-full");
    const play = player.querySelector('[data-do="play"]');

    let entries = [...table.querySelectorAll("tbody.wire-entry")];
    let next = document.getElementById("events-later")?.href ?? "";
    // How many entries are shown; all of them until something is played.
    let shown = entries.length;
    let timer = 0;
    let run = 0;

    player.hidden = false;
    document.getElementById("replay-steps").hidden = true;
    const linked = entries.findIndex((entry) => `#${entry.id}` === location.hash);
    range.max = String(entries.length);
    if (linked !== -1) {
        shown = linked + 1;
    }
    // A link to an entry shows the whole page around it; only playing hides what comes later.
    report();

    function report() {
        range.max = String(entries.length);
        range.value = String(shown);
        const text = shown === 0 ? texts.textStart : texts.textWhere.replace("%n", shown).replace("%m", entries.length);
        where.textContent = text;
        range.setAttribute("aria-valuetext", text);
    }

    function show(count, { scroll = true } = {}) {
        shown = Math.max(0, Math.min(count, entries.length));
        entries.forEach((entry, index) => {
            entry.hidden = index >= shown;
        });
        table.querySelector("tbody[aria-current]")?.removeAttribute("aria-current");
        const entry = entries[shown - 1];
        if (entry) {
            entry.setAttribute("aria-current", "true");
            if (scroll) {
                entry.scrollIntoView({ block: "nearest" });
            }
        }
        const url = new URL(location.href);
        url.hash = entry ? entry.id : "";
        history.replaceState(null, "", url);
        report();
    }

    function stop(state = "idle") {
        run += 1;
        clearTimeout(timer);
        player.dataset.state = state;
        play.textContent = texts.textPlay;
    }

    // One page more, from the server, escaped as the first one; false where there is none.
    async function more() {
        if (!next) {
            return false;
        }
        if (entries.length >= MAX_ROWS) {
            full.hidden = false;
            full.querySelector("a").href = next;
            return false;
        }
        const response = await fetch(next, { credentials: "same-origin" });
        if (!response.ok) {
            return false;
        }
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        for (const entry of page.querySelectorAll(`#${CSS.escape(table.id)} > tbody.wire-entry`)) {
            if (!document.getElementById(entry.id)) {
                const row = document.adoptNode(entry);
                row.hidden = true;
                table.append(row);
                entries.push(row);
            }
        }
        const link = page.getElementById("events-later")?.getAttribute("href");
        next = link ? new URL(link, location.href).href : "";
        report();
        return true;
    }

    async function step() {
        if (shown >= entries.length && !(await more())) {
            return false;
        }
        show(shown + 1);
        return true;
    }

    function pause() {
        const rate = Number(speed.value);
        const before = entries[shown - 1];
        const after = entries[shown];
        if (!rate || !before || !after) {
            return 0;
        }
        const elapsed = Number(after.dataset.at) - Number(before.dataset.at);
        return Math.max(0, Math.min(elapsed, LONGEST_PAUSE_MS)) / rate;
    }

    async function playOn(mine) {
        if (Number(speed.value) === 0) {
            while (mine === run && (shown < entries.length || (await more()))) {
                show(entries.length);
            }
            if (mine === run) {
                stop("done");
            }
            return;
        }
        if (!(await step()) || mine !== run) {
            if (mine === run) {
                stop("done");
            }
            return;
        }
        timer = setTimeout(() => playOn(mine), pause());
    }

    function playOrStop() {
        if (player.dataset.state === "playing") {
            stop();
            return;
        }
        stop("playing");
        play.textContent = texts.textStop;
        if (shown >= entries.length && !next) {
            show(0);
        }
        playOn(run);
    }

    async function jump(matches) {
        stop();
        for (let index = shown; index < entries.length || (await more()); index += 1) {
            if (entries[index] && matches(entries[index])) {
                show(index + 1);
                return;
            }
        }
        where.textContent = full.hidden ? texts.textNone : "";
    }

    const DEEDS = {
        first: () => (stop(), show(0)),
        back: () => (stop(), show(shown - 1)),
        forward: () => (stop(), step()),
        play: playOrStop,
        error: () => jump((entry) => entry.dataset.kind === "error"),
        method: () => {
            const method = entries[shown - 1]?.dataset.method ?? "";
            return jump((entry) => entry.dataset.method !== "" && entry.dataset.method !== method);
        },
    };

    player.addEventListener("click", (event) => {
        const deed = DEEDS[event.target.closest("button")?.dataset.do];
        if (deed) {
            Promise.resolve(deed()).catch(() => stop());
        }
    });
    range.addEventListener("input", () => {
        stop();
        show(Number(range.value));
    });
}
