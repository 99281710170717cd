// The playground: lists the models, classifies a text, draws its scores. Data enters the page as text, never as HTML.

const BEST = 10; // bars before "show all"
const PERCENT = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

const $ = (id) => document.getElementById(id);
let models = [];
let running = new AbortController(); // of the newest request: an older answer is not shown

class Failure extends Error {
  constructor(title, detail) {
    super(detail);
    this.title = title;
  }
}

async function call(path, options) {
  let response, body;
  try {
    response = await fetch(path, options);
    body = await response.text();
  } catch {
    throw new Failure("No answer", "The server can't be reached. Is it running, and is the network up?");
  }
  try {
    body = JSON.parse(body);
  } catch {
    throw new Failure(`HTTP ${response.status}`, "The answer isn't JSON. Is a proxy in between?");
  }
  if (!response.ok) throw new Failure(body.title ?? `HTTP ${response.status}`, body.detail ?? "No reason was given.");
  return body;
}

async function classify() {
  running.abort();
  const mine = (running = new AbortController());
  $("result").ariaBusy = "true";
  const slow = setTimeout(() => show({ verdict: "Classifying…" }), 500);
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await call("classify", { method: "POST", headers, body: requestBody(), signal: mine.signal });
    if (mine === running) show({ answer });
  } catch (error) {
    if (mine === running) show({ error });
  } finally {
    clearTimeout(slow);
    if (mine === running) $("result").ariaBusy = "false";
  }
}

/** Exactly one of: an answer, an error, or a line while waiting. */
function show({ answer, error, verdict = "" }) {
  $("scores").hidden = !answer;
  $("error").replaceChildren(...(error ? [element("strong", error.title ?? "The page failed"), error.message] : []));
  const found = answer?.data[0];
  $("verdict").textContent = found ? given(found) : verdict;
  $("truncated").textContent = found?.truncated
    ? `The text is too long for this model: only its first ${found.tokens.toLocaleString("en")} tokens were read.`
    : "";
  if (!found) return;
  $("bars").replaceChildren(...found.scores.map(bar));
  $("all").hidden = found.scores.length <= BEST;
  expand(false);
  $("tokens").textContent = found.tokens.toLocaleString("en");
  $("name").textContent = answer.model;
  $("version").textContent = answer.model_version;
}

function given({ label: told, labels, scores }) {
  const named = scores.filter(({ label }) => labels.includes(label));
  // Only where one label is told may that be another than the most probable one.
  const rare = labels.includes(told) && scores[0].label !== told ? " (rarer labels are told sooner)" : "";
  const all = named.map(({ label, score }) => `${label}, ${percent(score)}`).join("; ");
  return all + rare || "No label reaches its threshold";
}

function bar({ label, score }) {
  const track = element("div", "", "track");
  track.append(element("div", ""));
  track.firstChild.style.width = `${100 * score}%`;
  const row = element("li", "");
  row.append(element("bdi", label), element("span", percent(score), "percent"), track);
  return row;
}

function expand(all) {
  const rows = [...$("bars").children];
  rows.forEach((row, index) => (row.hidden = !all && index >= BEST));
  $("all").ariaExpanded = String(all);
  $("all").textContent = all ? `Show the best ${BEST}` : `Show all ${rows.length} labels`;
}

function percent(score) {
  if (score < 0.0005) return score > 0 ? "<0.1%" : "0.0%";
  return score >= 0.9995 && score < 1 ? ">99.9%" : PERCENT.format(score);
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function requestBody() {
  const model = models.length > 1 ? { model: $("model").value } : {};
  // DEL and its like are valid in JSON, but not what anyone wants to paste into a terminal.
  return JSON.stringify({ input: $("text").value, ...model }).replace(/[\x7f-\x9f]/g, escaped);
}

const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function describe() {
  const url = quoted(new URL("classify", document.baseURI).href);
  $("curl").textContent = `curl ${url} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(requestBody())}`;
  $("copied").textContent = "";
  const card = models.find((one) => one.id === $("model").value);
  if (!card) return;
  const several = card.kind === "multi-label" ? "Each label is scored on its own: several can apply." : "";
  const limit = card.max_tokens.toLocaleString("en");
  $("about").textContent = `${card.id}: ${card.labels.length} labels, reads up to ${limit} tokens. ${several}`;
}

async function listModels() {
  models = (await call("models")).data;
  $("model").append(...models.map((card) => new Option(card.id, card.id, card.default, card.default)));
  $("model-row").hidden = models.length < 2;
  describe();
}

async function copy() {
  getSelection().selectAllChildren($("curl"));
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    $("copied").textContent = "Copied";
  } catch {
    // Plain HTTP from another machine: browsers have no clipboard there.
    $("copied").textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with Ctrl/⌘ + C";
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
$("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  if (!event.repeat) $("form").requestSubmit();
});
$("form").addEventListener("input", describe);
$("all").addEventListener("click", () => expand($("all").ariaExpanded !== "true"));
$("copy").addEventListener("click", copy);

describe();
listModels().catch((error) => show({ error }));
