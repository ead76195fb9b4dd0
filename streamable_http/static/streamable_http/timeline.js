// Keys, folding and copying for a table of entries; what the page does without a script, it does without this one.
// Text from the log is never made HTML here: rows come escaped from the server.

const tools = document.getElementById("timeline-tools");
const table = tools && document.getElementById(tools.dataset.for);

if (table) {
    tools.hidden = false;
    table.classList.add("wire-compact");
    start();
}

function start() {
    const status = document.getElementById("timeline-status");

    const entries = () => [...table.querySelectorAll("tbody.wire-entry:not([hidden])")];
    const details = (entry) => entry.querySelector("details.wire-message");

    function toggle(entry, open) {
        const message = entry && details(entry);
        if (message) {
            message.open = open ?? !message.open;
        }
    }

    function current() {
        return document.activeElement?.closest?.("tbody.wire-entry") ?? table.querySelector("tbody[aria-current]");
    }

    function go(step) {
        const all = entries();
        const at = all.indexOf(current());
        const entry = at === -1 ? all[step > 0 ? 0 : all.length - 1] : all[at + step];
        if (entry) {
            mark(entry);
            entry.focus({ preventScroll: true });
            entry.scrollIntoView({ block: "nearest" });
        }
    }

    function mark(entry) {
        table.querySelector("tbody[aria-current]")?.removeAttribute("aria-current");
        entry.setAttribute("aria-current", "true");
    }

    async function copy(text, said) {
        try {
            await navigator.clipboard.writeText(text);
            status.textContent = said;
            return true;
        } catch {
            // No secure context, or no permission.
            status.textContent = tools.dataset.notCopied;
            return false;
        }
    }

    function copyLink(entry) {
        const url = new URL(location.href);
        url.hash = entry.id;
        return copy(url.href, tools.dataset.linkCopied);
    }

    async function copyText(link) {
        try {
            const response = await fetch(link.href, { credentials: "same-origin" });
            if (response.ok && (await copy(await response.text(), tools.dataset.copied))) {
                return;
            }
        } catch {
            // The page behind the link says why.
        }
        location.assign(link.href);
    }

    const KEYS = {
        j: () => go(1),
        k: () => go(-1),
        c: () => current() && copyLink(current()),
    };

    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) {
            return;
        }
        if (event.key === "Enter" && event.target.matches("tbody.wire-entry")) {
            toggle(event.target);
            event.preventDefault();
        } else if (Object.hasOwn(KEYS, event.key)) {
            KEYS[event.key]();
            event.preventDefault();
        }
    });

    table.addEventListener("click", (event) => {
        const link = event.target.closest("a.wire-copy");
        if (link) {
            event.preventDefault();
            copyText(link);
            return;
        }
        const line = event.target.closest("tr.wire-line");
        if (line && !event.target.closest("a, button") && String(getSelection()) === "") {
            mark(line.parentElement);
            toggle(line.parentElement);
        }
    });

    tools.addEventListener("click", (event) => {
        const what = event.target.closest("button")?.dataset.do;
        if (what) {
            entries().forEach((entry) => toggle(entry, what === "expand"));
        }
    });

    function openTarget() {
        const entry = location.hash.startsWith("#e-") && document.getElementById(location.hash.slice(1));
        if (entry) {
            mark(entry);
            toggle(entry, true);
            entry.scrollIntoView({ block: "nearest" });
        }
    }

    addEventListener("hashchange", openTarget);
    openTarget();
}
