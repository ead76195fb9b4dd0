// Draws the dashboard's figures as charts, and fetches the page again now and then. Without it the tables say the same.

const FIGURES = "mcp-figures";
const DATA = "mcp-charts";
const MAX_LABELS = 12;
const BAR_PIXELS = 30;
const AROUND_PIXELS = 70;

const charts = new Map();

function color(name) {
  return getComputedStyle(document.querySelector(".mcp-dashboard")).getPropertyValue(`--mcp-${name}`).trim();
}

function datasets(series) {
  return series.map(({ label, role, values }) => ({
    label,
    data: values,
    backgroundColor: color(role),
    maxBarThickness: 24,
  }));
}

function axis(more = {}) {
  return {
    grid: { color: color("grid") },
    border: { color: color("grid") },
    ...more,
    ticks: { color: color("text"), ...more.ticks },
  };
}

// What differs between the charts: which way the bars lie, whether they stack, and the scale of their lengths.
const KINDS = {
  calls: { indexAxis: "x", stacked: true, barPercentage: 1, categoryPercentage: 0.9 },
  tools: { indexAxis: "y", stacked: true },
  latency: { indexAxis: "y", stacked: false, type: "logarithmic" },
  clients: { indexAxis: "y", stacked: true },
};

function options({ indexAxis, stacked, type = "linear" }, series) {
  const names = axis({ stacked, ticks: { maxTicksLimit: indexAxis === "x" ? MAX_LABELS : undefined, maxRotation: 0 } });
  const lengths = axis({ stacked, type, ticks: { precision: 0, maxTicksLimit: 6 } });
  // A logarithmic scale has no zero.
  if (type === "linear") lengths.beginAtZero = true;
  return {
    indexAxis,
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    locale: document.documentElement.lang || undefined,
    scales: indexAxis === "x" ? { x: names, y: lengths } : { x: lengths, y: names },
    plugins: {
      legend: { display: series.length > 1, labels: { color: color("text"), boxWidth: 12 } },
    },
  };
}

function draw() {
  if (typeof Chart === "undefined") return;
  for (const chart of charts.values()) chart.destroy();
  charts.clear();
  const data = JSON.parse(document.getElementById(DATA).textContent);
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    const name = canvas.dataset.chart;
    const { labels, series } = data[name];
    canvas.closest(".mcp-chart").hidden = labels.length === 0;
    if (labels.length === 0) continue;
    const kind = KINDS[name];
    if (kind.indexAxis === "y") {
      const bars = kind.stacked ? 1 : 1.6;
      canvas.parentElement.style.height = `${AROUND_PIXELS + labels.length * BAR_PIXELS * bars}px`;
    }
    const sets = datasets(series).map((set) => ({
      ...set,
      barPercentage: kind.barPercentage ?? 0.9,
      categoryPercentage: kind.categoryPercentage ?? 0.8,
    }));
    charts.set(name, new Chart(canvas, { type: "bar", data: { labels, datasets: sets }, options: options(kind, series) }));
  }
}

// The page is fetched whole and its figures are taken out of it, so that tables and charts never disagree.
async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!response.ok) throw new Error(String(response.status));
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(FIGURES);
  const old = document.getElementById(FIGURES);
  if (fresh === null) throw new Error("no figures");
  keep(old, fresh);
  old.replaceWith(fresh);
  draw();
}

// What a reader opened stays open, and what is being read by keyboard stays where it is.
function keep(old, fresh) {
  const opened = [...old.querySelectorAll("details")].map((details) => details.open);
  fresh.querySelectorAll("details").forEach((details, index) => {
    details.open = opened[index] ?? false;
  });
}

function isReading() {
  const old = document.getElementById(FIGURES);
  return old.contains(document.activeElement) || (!getSelection().isCollapsed && old.contains(getSelection().anchorNode));
}

function refreshRegularly() {
  const bar = document.querySelector(".mcp-refresh");
  const status = bar.querySelector("[role=status]");
  const button = bar.querySelector("button");
  const { seconds, pause, resume, paused, failed } = bar.dataset;
  const usual = status.textContent;
  let isPaused = false;

  function say(words) {
    // A status that did not change is not to be read out again.
    if (status.textContent !== words) status.textContent = words;
  }

  async function turn() {
    if (!isPaused && !document.hidden && !isReading()) {
      try {
        await refresh();
        say(isPaused ? paused : usual);
      } catch {
        say(failed);
      }
    }
    setTimeout(turn, seconds * 1000);
  }

  button.addEventListener("click", () => {
    isPaused = !isPaused;
    button.textContent = isPaused ? resume : pause;
    say(isPaused ? paused : usual);
  });
  bar.hidden = false;
  setTimeout(turn, seconds * 1000);
}

draw();
refreshRegularly();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
// The admin's own switch of the theme.
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
